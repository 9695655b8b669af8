"""What is sent and what comes back: request bodies by size, and replies shaped like the clouds' own."""

from __future__ import annotations

import base64
import json
from typing import Any

from integration.cloud import eventstream

#: Frames of one streamed reply.
FRAMES = 500

#: What the model says in every whole reply, so that a translation can be recognised.
SAID = (
    "A proxy that speaks one dialect to its clients and many to the clouds has to read every message once, "
    "write it once, and otherwise stay out of the way. The rest is bookkeeping: who asked, what it cost, and "
    'what to say when a cloud says "no".\n\nSo the short answer is yes.'
)

#: Text with line ends, quotes and non-ASCII in it, as pasted text has.
PROSE = (
    'The kitchen was quiet except for the "tick" of the clock over the stove — half past six.\n'
    "Nobody had touched the café's bread. Later, when they asked what was said, each told it differently:\n"
    "\t1. that the letter had come on a Monday;\n\t2. that there was no letter at all. "
)


def _text(length: int, salt: int) -> str:
    """Prose of so many characters; another piece of it for every `salt`."""
    start = salt * 37 % len(PROSE)
    repeated = PROSE * (length // len(PROSE) + 2)
    return repeated[start : start + length]


#: A function as coding assistants offer them.
TOOL = {
    "type": "function",
    "function": {
        "name": "search_files",
        "description": "Search the files of the project for a pattern and return the lines that match.",
        "parameters": {
            "type": "object",
            "properties": {
                "pattern": {"type": "string", "description": "a regular expression"},
                "folder": {"type": "string", "description": "where to search; the root if absent"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 500},
            },
            "required": ["pattern"],
            "additionalProperties": False,
        },
    },
}

#: Length of one turn's text in a long conversation. All sizes have turns alike, so a cost that grows
#: faster than the body shows, be it in bytes or in turns.
TURN = 500


def conversation(model: str, size: int, *, stream: bool = False) -> bytes:
    """An OpenAI chat request of exactly `size` bytes; from 1 kB on it offers a tool."""
    body: dict[str, Any] = {"model": model, "max_tokens": 512, "temperature": 0.2}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if size >= 1000:
        body |= {"tools": [TOOL], "tool_choice": "auto"}
    messages = [{"role": "system", "content": "Answer briefly."}]
    body["messages"] = messages
    # Counted turn by turn: writing it all for each turn would take seconds for a megabyte.
    length = len(_json(body))
    while size - length > 2 * TURN:
        role = "user" if len(messages) % 2 else "assistant"
        messages.append({"role": role, "content": _text(TURN, len(messages))})
        length += len(_json(messages[-1])) + 1
    if len(messages) % 2 == 0:
        messages.append({"role": "assistant", "content": "Yes."})
    last = {"role": "user", "content": ""}
    messages.append(last)
    # Escapes make text longer than it looks; plain letters fill what is left to the byte.
    last["content"] = _text((size - len(_json(body))) * 3 // 4, 1)
    last["content"] += "x" * (size - len(_json(body)))
    return _json(body)


def agent(model: str, turns: int) -> bytes:
    """An OpenAI chat request of an agent that has called tools so many times, two of them at once every third time."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": _text(2000, 0)},
        {"role": "user", "content": "Find out why the letter came on a Monday."},
    ]
    for turn in range(turns):
        calls = []
        for number in range(1 + (turn % 3 == 2)):
            arguments = {"pattern": _text(60, turn), "folder": f"src/{turn}", "limit": 50 + number}
            function = {"name": TOOL["function"]["name"], "arguments": json.dumps(arguments, ensure_ascii=False)}
            calls.append({"id": f"call_{turn:04}_{number}", "type": "function", "function": function})
        messages.append({"role": "assistant", "content": _text(120, turn), "tool_calls": calls})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": _text(1000, turn)} for call in calls
        ]
    return _json({"model": model, "max_tokens": 512, "tools": [TOOL], "tool_choice": "auto", "messages": messages})


def schemas(model: str, size: int) -> bytes:
    """An OpenAI chat request that offers tools of about `size` bytes, nested as those of large APIs are."""
    tools: list[dict[str, Any]] = []
    while len(_json(tools)) < size:
        number = len(tools)
        fields = {
            f"field_{index}": {
                "type": "object",
                "description": _text(90, number + index),
                "properties": {
                    "kind": {"type": "string", "enum": ["letter", "parcel", "telegram"]},
                    "lines": {"type": "array", "items": {"type": "string", "maxLength": 120}, "minItems": 1},
                    "weight": {"type": "number", "minimum": 0, "description": _text(60, index)},
                },
                "required": ["kind"],
            }
            for index in range(12)
        }
        parameters = {"type": "object", "properties": fields, "required": ["field_0"]}
        function = {"name": f"post_office_{number}", "description": _text(400, number), "parameters": parameters}
        tools.append({"type": "function", "function": function})
    messages = [{"role": "user", "content": "Send a letter."}]
    return _json({"model": model, "max_tokens": 512, "tools": tools, "messages": messages})


def picture(model: str, size: int) -> bytes:
    """An OpenAI chat request of about `size` bytes whose bulk is one image in a data URL."""
    data = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(i * 167 % 251 for i in range(size * 3 // 4 - 300))).decode()
    parts = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
    ]
    return _json({"model": model, "max_tokens": 512, "messages": [{"role": "user", "content": parts}]})


def message(chat: bytes) -> bytes:
    """The same conversation as Anthropic's clients send it."""
    body = json.loads(chat)
    if "tools" in body:
        body["tools"] = [
            {"name": tool["function"]["name"], "description": tool["function"]["description"],
             "input_schema": tool["function"]["parameters"]}
            for tool in body["tools"]
        ]  # fmt: skip
        body.pop("tool_choice", None)
    turns: list[dict[str, Any]] = []
    for said in body["messages"]:
        if said["role"] == "system":
            body["system"] = said["content"]
        elif said["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": said["tool_call_id"], "content": said["content"]}
            if turns[-1]["role"] == "assistant":
                turns.append({"role": "user", "content": []})
            turns[-1]["content"].append(result)
        else:
            calls = [
                {"type": "tool_use", "id": call["id"], "name": call["function"]["name"],
                 "input": json.loads(call["function"]["arguments"])}
                for call in said.get("tool_calls", ())
            ]  # fmt: skip
            turns.append({"role": said["role"], "content": [{"type": "text", "text": said["content"]}, *calls]})
    return _json(body | {"messages": turns})


def messages_reply() -> bytes:
    """A whole reply of Claude's in Anthropic's own dialect."""
    return _json(
        {
            "model": "claude-sonnet-4-20250514", "id": "msg_bdrk_01XFDUDYJgAACzvnptVvoYEL", "type": "message",
            "role": "assistant", "content": [{"type": "text", "text": SAID}], "stop_reason": "end_turn",
            "stop_sequence": None, "usage": {"input_tokens": 431, "output_tokens": 71},
        }
    )  # fmt: skip


def _json(value: Any) -> bytes:
    # As openai-python writes it.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def converse_reply() -> bytes:
    """A whole reply of Amazon Bedrock's Converse."""
    usage = {"inputTokens": 431, "outputTokens": 71, "totalTokens": 502, "cacheReadInputTokens": 0}
    return _json(
        {
            "metrics": {"latencyMs": 1432},
            "output": {"message": {"content": [{"text": SAID}], "role": "assistant"}},
            "stopReason": "end_turn",
            "usage": usage | {"cacheWriteInputTokens": 0},
        }
    )


def gemini_reply() -> bytes:
    """A whole reply of Google Vertex's generateContent; Google indents its JSON."""
    reply = {
        "candidates": [
            {
                "content": {"role": "model", "parts": [{"text": SAID}]},
                "finishReason": "STOP",
                "avgLogprobs": -0.2153,
            }
        ],
        "usageMetadata": {
            "promptTokenCount": 431,
            "candidatesTokenCount": 71,
            "totalTokenCount": 502,
            "trafficType": "ON_DEMAND",
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 431}],
            "candidatesTokensDetails": [{"modality": "TEXT", "tokenCount": 71}],
        },
        "modelVersion": "gemini-2.5-flash",
        "createTime": "2026-11-20T10:00:00.000000Z",
        "responseId": "b2k7abCdEfGh1234",
    }
    return json.dumps(reply, indent=2).encode()


def token_reply() -> bytes:
    """What Google's metadata server hands out; lasts longer than any run."""
    return _json({"access_token": "ya29.bench-" + "t" * 200, "expires_in": 3599, "token_type": "Bearer"})


def stream_frames() -> list[bytes]:
    """A streamed Converse reply of `FRAMES` frames, about 200 bytes each, padded as Bedrock pads them."""
    words = PROSE.split(" ")
    events: list[tuple[str, dict[str, Any]]] = [("messageStart", {"role": "assistant"})]
    for number in range(FRAMES - 4):
        delta = {"contentBlockIndex": 0, "delta": {"text": " " + words[number % len(words)]}}
        events.append(("contentBlockDelta", delta))
    events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    events.append(("messageStop", {"stopReason": "end_turn"}))
    usage = {"inputTokens": 431, "outputTokens": FRAMES, "totalTokens": 431 + FRAMES}
    events.append(("metadata", {"metrics": {"latencyMs": 9000}, "usage": usage}))
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return [
        eventstream.event(kind, _json(payload | {"p": alphabet[: number * 17 % len(alphabet)]}))
        for number, (kind, payload) in enumerate(events)
    ]
