"""AWS event-stream frames, written; knows nothing of Bedrock.

Layout: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html
"""

from __future__ import annotations

import struct
import zlib

#: Header value type 7: a string with a two-byte length.
STRING = 7


def frame(headers: dict[str, str], payload: bytes) -> bytes:
    """Write one frame: total length, header length, prelude CRC, headers, payload, message CRC."""
    head = bytearray()
    for name, value in headers.items():
        raw_name, raw_value = name.encode(), value.encode()
        head += struct.pack("!B", len(raw_name)) + raw_name
        head += struct.pack("!BH", STRING, len(raw_value)) + raw_value
    prelude = struct.pack("!II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + bytes(head) + payload
    return message + struct.pack("!I", zlib.crc32(message))


def event(kind: str, payload: bytes) -> bytes:
    """Write an event frame with a JSON payload."""
    return frame(
        {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}, payload
    )


def exception(kind: str, payload: bytes) -> bytes:
    """Write an exception frame: an error that the service's model names."""
    return frame(
        {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}, payload
    )


def error(code: str, message: str) -> bytes:
    """Write an error frame: an error outside the service's model, told in headers only."""
    return frame({":message-type": "error", ":error-code": code, ":error-message": message}, b"")


def spoil(whole: bytes) -> bytes:
    """Flip one bit of a frame's message CRC."""
    return whole[:-1] + bytes([whole[-1] ^ 1])
