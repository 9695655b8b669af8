"""Changes a built plugin for tests: one function of it made to trap, so that the shipped one needs no way to."""

from __future__ import annotations

EXPORTS, CODE = 7, 10
UNREACHABLE, NOP, END = b"\x00", b"\x01", b"\x0b"


def number(wasm: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        byte = wasm[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def sections(wasm: bytes) -> dict[int, int]:
    """Where the content of each section begins, by its number."""
    assert wasm[:4] == b"\0asm"
    found, at = {}, 8
    while at < len(wasm):
        kind = wasm[at]
        size, at = number(wasm, at + 1)
        found[kind] = at
        at += size
    return found


def imported_functions(wasm: bytes, at: int) -> int:
    """How many functions are imported; they are numbered before those of the code."""
    count, at = number(wasm, at)
    functions = 0
    for _ in range(count):
        for _ in range(2):
            size, at = number(wasm, at)
            at += size
        kind, at = wasm[at], at + 1
        assert kind == 0, "the plugin imports functions alone"
        _, at = number(wasm, at)
        functions += 1
    return functions


def exported_function(wasm: bytes, at: int, name: str) -> int:
    count, at = number(wasm, at)
    for _ in range(count):
        size, at = number(wasm, at)
        found, at = wasm[at : at + size], at + size
        kind, at = wasm[at], at + 1
        index, at = number(wasm, at)
        if kind == 0 and found == name.encode():
            return index
    raise LookupError(name)


def with_trap(wasm: bytes, name: str) -> bytes:
    """The same plugin, but the exported function of this name does nothing but trap."""
    found = sections(wasm)
    wanted = exported_function(wasm, found[EXPORTS], name) - imported_functions(wasm, found[2])
    _, at = number(wasm, found[CODE])
    for _ in range(wanted):
        size, at = number(wasm, at)
        at += size
    size, at = number(wasm, at)
    # No locals; what follows `unreachable` is never reached and fills the place of the old body.
    body = b"\0" + UNREACHABLE + NOP * (size - 3) + END
    return wasm[:at] + body + wasm[at + size :]
