"""The embedding models of Bedrock (InvokeModel) and Vertex AI (predict, embedContent).

Vectors are made of a hash of their text, so that a test can tell whose vector it holds.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
from typing import Any

from . import aws, google
from .frame import CALL_HEADERS
from .http import json_bytes
from .replies import Reply, Turn, words
from .strict import Refused


def vector(text: str, size: int) -> list[float]:
    """The vector of a text: numbers below one that a 32-bit float holds exactly."""
    stream = hashlib.shake_256(text.encode()).digest(2 * size)
    return [number / 32768 for number in struct.unpack(f"<{size}h", stream)]


def members(value: Any, known: dict[str, type | tuple[type, ...]], required: set[str], place: str) -> dict[str, Any]:
    """Refuse unknown members, missing ones and wrong types."""
    if not isinstance(value, dict):
        raise Refused("shape", f"#{place}: expected type: JSONObject")
    for name, member in value.items():
        if name not in known:
            raise Refused("shape", f"#{place}: extraneous key [{name}] is not permitted")
        if not isinstance(member, known[name]) or (isinstance(member, bool) and known[name] is not bool):
            raise Refused("shape", f"#{place}/{name}: wrong type")
    if missing := required - set(value):
        raise Refused("shape", f"#{place}: required key [{sorted(missing)[0]}] not found")
    return value


def choice(value: Any, allowed: tuple[Any, ...], place: str) -> None:
    if value not in allowed:
        raise Refused("rule", f"#{place}: {value!r} is not one of {allowed}")


def text(value: Any, place: str, longest: int = 50_000) -> str:
    """Refuse what is no text, or too long a one."""
    if not isinstance(value, str) or not value:
        raise Refused("shape", f"#{place}: expected minLength: 1")
    if len(value) > longest:
        raise Refused("rule", f"#{place}: expected maxLength: {longest}, actual: {len(value)}")
    return value


def picture(data: str, place: str) -> str:
    """Refuse what is no base64; the picture's vector is that of its base64."""
    try:
        base64.b64decode(data, validate=True)
    except ValueError:
        raise Refused("rule", f"#{place}: not base64") from None
    return text(data, place, 35_000_000)


class Embeddings:
    """What all of them have in common: texts, and vectors of a size."""

    more_headers = CALL_HEADERS
    texts: list[str]
    size: int
    place: str
    cloud: str
    model: str

    def asked(self, texts: list[str], size: int) -> Turn:
        self.texts, self.size = texts, size
        joined = "\n".join(texts)
        return Turn(
            cloud=self.cloud, place=self.place, model=self.model, stream=False, messages=len(texts),
            last_text=joined, tool_results=[], images=0, words=words(joined), tools=[], forced_tool=None, schema=None,
            marked_text=joined,
        )  # fmt: skip

    def vectors(self) -> list[list[float]]:
        return [vector(text, self.size) for text in self.texts]


class Invoke(Embeddings, aws.Api):
    """InvokeModel, which tells the tokens of the texts in a header."""

    turn: Turn

    def head(self) -> dict[str, str]:
        head = super().head()
        if hasattr(self, "turn"):
            head["X-Amzn-Bedrock-Input-Token-Count"] = str(self.turn.words)
        return head


def invoke(models: str) -> re.Pattern[str]:
    return re.compile(rf"/model/(?P<model>(?:[a-z]+\.)?(?:{models})[^/]*)/invoke")


class Titan(Invoke):
    """docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html and …-titan-embed-mm.html"""

    path = invoke(r"amazon\.titan-embed-")

    def admit(self, body: Any) -> Turn:
        if "titan-embed-text-v2" in self.model:
            members(body, {"inputText": str, "dimensions": int, "normalize": bool}, {"inputText"}, "")
            size = body.get("dimensions", 1024)
            choice(size, (256, 512, 1024), "/dimensions")
        elif "titan-embed-image" in self.model:
            members(body, {"inputText": str, "inputImage": str, "embeddingConfig": dict}, set(), "")
            if len({"inputText", "inputImage"} & set(body)) != 1:
                raise Refused("rule", "a text or a picture; both at once would be one vector")
            config = members(
                body.get("embeddingConfig", {}), {"outputEmbeddingLength": int}, set(), "/embeddingConfig"
            )
            size = config.get("outputEmbeddingLength", 1024)
            choice(size, (256, 384, 1024), "/embeddingConfig/outputEmbeddingLength")
        else:
            members(body, {"inputText": str}, {"inputText"}, "")
            size = 1536
        if "inputImage" in body:
            return self.asked([picture(body["inputImage"], "/inputImage")], size)
        return self.asked([text(body["inputText"], "/inputText")], size)

    def whole(self, reply: Reply) -> bytes:
        (numbers,) = self.vectors()
        answer: dict[str, Any] = {"embedding": numbers, "inputTextTokenCount": self.turn.words}
        if "titan-embed-text-v2" in self.model:
            answer["embeddingsByType"] = {"float": numbers}
        return json_bytes(answer)


class Cohere(Invoke):
    """docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html and …-embed-v4.html"""

    path = invoke(r"cohere\.embed-")

    def admit(self, body: Any) -> Turn:
        known: dict[str, Any] = {"texts": list, "images": list, "input_type": str, "truncate": str}
        longest, cuts, pictures = 2048, ("NONE", "START", "END"), 1
        kinds = ("search_document", "search_query", "classification", "clustering")
        if "embed-v4" in self.model:
            known |= {"output_dimension": int, "max_tokens": int}
            longest, cuts, pictures = 500_000, ("NONE", "LEFT", "RIGHT"), 96
        elif "images" in body:
            kinds = ("image",)
        members(body, known, {"input_type"}, "")
        if len({"texts", "images"} & set(body)) != 1:
            raise Refused("rule", "texts or images, and not both")
        choice(body["input_type"], kinds, "/input_type")
        choice(body.get("truncate", "NONE"), cuts, "/truncate")
        for name, most in (("texts", 96), ("images", pictures)):
            if name in body and not 1 <= len(body[name]) <= most:
                raise Refused("rule", f"#/{name}: expected maxItems: {most}, actual: {len(body[name])}")
        size = body.get("output_dimension", 1536 if "embed-v4" in self.model else 1024)
        choice(size, (256, 512, 1024, 1536), "/output_dimension")
        if "images" in body:
            found = [re.fullmatch("data:image/(?:png|jpeg);base64,(.*)", str(one)) for one in body["images"]]
            if None in found:
                raise Refused("rule", "#/images: not a data URI of a PNG or JPEG")
            return self.asked([picture(one[1], "/images") for one in found if one], size)
        return self.asked([text(one, f"/texts/{at}", longest) for at, one in enumerate(body["texts"])], size)

    def whole(self, reply: Reply) -> bytes:
        answer = {"id": "e1", "texts": self.texts, "response_type": "embeddings_floats"}
        return json_bytes(answer | {"embeddings": self.vectors()})


class Nova(Invoke):
    """docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html"""

    path = invoke(r"amazon\.nova-2-multimodal-embeddings-")

    def admit(self, body: Any) -> Turn:
        names = {"schemaVersion": str, "taskType": str, "singleEmbeddingParams": dict}
        members(body, names, {"taskType", "singleEmbeddingParams"}, "")
        choice(body.get("schemaVersion", "nova-multimodal-embed-v1"), ("nova-multimodal-embed-v1",), "/schemaVersion")
        choice(body["taskType"], ("SINGLE_EMBEDDING",), "/taskType")
        place = "/singleEmbeddingParams"
        names = {"embeddingPurpose": str, "embeddingDimension": int, "text": dict, "image": dict}
        params = members(body["singleEmbeddingParams"], names, {"embeddingPurpose"}, place)
        if len({"text", "image"} & set(params)) != 1:
            raise Refused("rule", f"#{place}: exactly one input")
        purposes = ("INDEX", "RETRIEVAL")
        known = [f"GENERIC_{one}" for one in purposes] + ["TEXT_RETRIEVAL", "CLASSIFICATION", "CLUSTERING"]
        choice(params["embeddingPurpose"], tuple(known), f"{place}/embeddingPurpose")
        size = params.get("embeddingDimension", 3072)
        choice(size, (256, 384, 1024, 3072), f"{place}/embeddingDimension")
        if "image" in params:
            image = members(params["image"], {"format": str, "source": dict}, {"format", "source"}, f"{place}/image")
            choice(image["format"], ("png", "jpeg", "gif", "webp"), f"{place}/image/format")
            source = members(image["source"], {"bytes": str}, {"bytes"}, f"{place}/image/source")
            return self.asked([picture(source["bytes"], f"{place}/image/source/bytes")], size)
        said = members(
            params["text"], {"truncationMode": str, "value": str}, {"truncationMode", "value"}, f"{place}/text"
        )
        choice(said["truncationMode"], ("START", "END", "NONE"), f"{place}/text/truncationMode")
        return self.asked([text(said["value"], f"{place}/text/value")], size)

    def whole(self, reply: Reply) -> bytes:
        return json_bytes({"embeddings": [{"embeddingType": "TEXT", "embedding": one} for one in self.vectors()]})


TASKS = (
    "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING",
    "QUESTION_ANSWERING", "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip

#: The largest request in tokens: cloud.google.com/vertex-ai/generative-ai/docs/embeddings/get-text-embeddings.
MOST_TOKENS = 20_000


class Vertex(Embeddings, google.Api):
    """Vectors of Vertex AI's models, laid out over many lines as Google does."""

    def sized(self, size: int | None) -> int:
        most = 3072 if "gemini" in self.model else 768
        if size is not None and not 1 <= size <= most:
            raise Refused("rule", f"The requested output dimensionality {size} is not in [1, {most}].")
        return size or most


class Predict(Vertex):
    """cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api"""

    path = google.path(
        "publishers/google/models/(?P<model>(?:text-embedding|text-multilingual-embedding|gemini-embedding-001)[a-z0-9-]*)"
        ":predict"
    )

    def admit(self, body: Any) -> Turn:
        members(body, {"instances": list, "parameters": dict}, {"instances"}, "")
        names = {"autoTruncate": bool, "outputDimensionality": int}
        parameters = members(body.get("parameters", {}), names, set(), "/parameters")
        most = 1 if "gemini" in self.model else 250
        if not 1 <= len(body["instances"]) <= most:
            raise Refused("rule", f"{len(body['instances'])} instance(s) is over the limit of {most}.")
        texts = []
        for at, instance in enumerate(body["instances"]):
            members(instance, {"content": str, "task_type": str, "title": str}, {"content"}, f"/instances/{at}")
            choice(instance.get("task_type", TASKS[0]), TASKS, f"/instances/{at}/task_type")
            if "title" in instance and instance.get("task_type") != "RETRIEVAL_DOCUMENT":
                raise Refused("rule", "a title goes with the task type RETRIEVAL_DOCUMENT")
            texts.append(text(instance["content"], f"/instances/{at}/content", 10_000_000))
        if len(texts) > 1 and sum(len(one.encode()) for one in texts) > MOST_TOKENS:
            # No tokenizer is here: the worst case of a byte a token must fit.
            raise Refused("rule", f"The input token count exceeds the maximum number of tokens allowed ({MOST_TOKENS}).")
        return self.asked(texts, self.sized(parameters.get("outputDimensionality")))

    def whole(self, reply: Reply) -> bytes:
        predictions = [
            {"embeddings": {"statistics": {"truncated": False, "token_count": words(text)}, "values": numbers}}
            for text, numbers in zip(self.texts, self.vectors())
        ]
        metadata = {"billableCharacterCount": sum(map(len, self.texts))}
        return json.dumps({"predictions": predictions, "metadata": metadata}, indent=2).encode()


class EmbedContent(Vertex):
    """cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models/embedContent"""

    path = google.path("publishers/google/models/(?P<model>gemini-embedding-(?!001)[a-z0-9-]+):embedContent")

    def admit(self, body: Any) -> Turn:
        members(body, {"content": dict, "embedContentConfig": dict}, {"content"}, "")
        content = members(body["content"], {"role": str, "parts": list}, {"parts"}, "/content")
        if len(content["parts"]) != 1:
            raise Refused("rule", "several parts of a content are one vector")
        part = members(content["parts"][0], {"text": str, "inlineData": dict}, set(), "/content/parts/0")
        names = {"taskType": str, "title": str, "outputDimensionality": int, "autoTruncate": bool}
        config = members(body.get("embedContentConfig", {}), names, set(), "/embedContentConfig")
        choice(config.get("taskType", TASKS[0]), TASKS, "/embedContentConfig/taskType")
        size = self.sized(config.get("outputDimensionality"))
        if "inlineData" in part:
            names = {"mimeType": str, "data": str}
            image = members(part["inlineData"], names, set(names), "/content/parts/0/inlineData")
            choice(image["mimeType"], ("image/png", "image/jpeg"), "/content/parts/0/inlineData/mimeType")
            return self.asked([picture(image["data"], "/content/parts/0/inlineData/data")], size)
        return self.asked([text(part.get("text"), "/content/parts/0/text", 10_000_000)], size)

    def whole(self, reply: Reply) -> bytes:
        (numbers,) = self.vectors()
        count = self.turn.words
        usage = {"promptTokenCount": count, "totalTokenCount": count}
        return json.dumps({"embedding": {"values": numbers}, "usageMetadata": usage}, indent=2).encode()


BEDROCK = (Titan, Cohere, Nova)
VERTEX = (Predict, EmbedContent)
