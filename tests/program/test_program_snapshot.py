"""The built image: immortal objects, few pages written by a run, and nothing of a rehearsal or another run in it."""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path
from typing import Any

import pytest
from program_guests import run

from symphony.bench.host import TOKENS_PY, suspended_mb
from symphony.errors import InternalError
from symphony.program.programs import Programs
from symphony.program.snapshot import IMMORTAL, MARK, immortalise
from symphony.sandbox import Sandbox

LEFT_BEHIND = '''
import asyncio, contextvars, json, linecache, os, random, sys, types
from lip import Context, _host, _model, main


@main
async def app(name: str = "") -> dict:
    """What a run finds, and then leaves."""
    found = {
        "seen": [getattr(module, "seen", None) for module in (random, json, os, types)],
        "environment": dict(os.environ),
        "sources": [name for name in linecache.cache if "rehearsal" in name],
        "modules": [name for name in ("app", "rehearsal") if name in sys.modules and name != "app"],
        "tasks": len(asyncio.all_tasks()),
        "models": _model.open_model.cache_info().currsize,
        "made_up": [n for n in ("model", "infer", "poll") if getattr(_host, n).__name__ == n],
        "context": len(list(contextvars.copy_context())),
        "argv": sys.argv,
        "random": random.random(),
        "app": __file__,
    }
    random.seen = json.seen = os.seen = types.seen = True
    os.environ["LEFT"] = "behind"
    linecache.cache["rehearsal"] = 1
    return found
'''
IMMORTALS = """
import asyncio, json, sys
from lip import Context, main


@main
def app() -> list:
    def fresh(): ...
    old = [Context, json.loads, asyncio.AbstractEventLoop, sys.modules, Context.pred.__code__, json.__dict__]
    return [[sys.getrefcount(thing) >= 1 << 30 for thing in old], sys.getrefcount(fresh) < 10]
"""


def test_the_objects_of_the_table_become_immortal() -> None:
    image = bytearray(4096)
    objects = {256: 1, 1000: 70_000, 3000: 5 << 28}
    for address, references in objects.items():
        struct.pack_into("<2I", image, address, references, 0xAAAA)
    table = MARK + struct.pack("<4I", 3, *objects)
    image[2000 : 2000 + len(table)] = table
    struct.pack_into("<I", image, 512, 7)
    component = _component([(64, image[64:1100]), (1900, image[1900:])])

    made = _image(immortalise(component))
    for address in objects:
        struct.pack_into("<I", image, address, max(IMMORTAL, objects[address]))
    assert made == image.rstrip(b"\0")


def test_an_image_that_is_not_understood_is_refused() -> None:
    plain = _component([(0, b"nothing")])
    with pytest.raises(InternalError, match="left 0 tables"):
        immortalise(plain)
    one = MARK + struct.pack("<2I", 1, 100)
    with pytest.raises(InternalError, match="left 2 tables"):
        immortalise(_component([(0, one), (50, one)]))
    for word in (0, 1 << 25):
        with pytest.raises(InternalError, match="no object at 0x64"):
            immortalise(_component([(0, one), (100, struct.pack("<2I", word, 1))]))


def test_what_exists_before_a_run_is_immortal(sandbox: Sandbox, programs: Programs) -> None:
    async def main() -> Any:
        return await run(sandbox, await programs.load(IMMORTALS))

    assert asyncio.run(main()) == [[True] * 6, True]


def test_nothing_is_left_of_the_rehearsal_or_of_another_run(sandbox: Sandbox, programs: Programs) -> None:
    async def main() -> list[dict[str, Any]]:
        program = await programs.load(LEFT_BEHIND)
        return [await run(sandbox, program) for _ in range(2)]

    first, second = asyncio.run(main())
    assert first.pop("random") != second.pop("random")
    assert first == second
    assert first == {
        "seen": [None] * 4,
        "environment": {},
        "sources": [],
        "modules": [],
        "tasks": 1,
        "models": 0,
        "made_up": [],
        "context": 0,
        "argv": ["lip"],
        "app": "program.py",
    }


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells how much memory is shared")
def test_a_suspended_python_program_takes_less_than_two_megabytes(tmp_path: Path) -> None:
    used = asyncio.run(suspended_mb(TOKENS_PY, 20, tmp_path))
    assert used / 20 < 2


# --- components of nothing but data -----------------------------------------------------------------------------------


def _component(segments: list[tuple[int, bytes]]) -> bytes:
    data = _number(len(segments))
    for offset, content in segments:
        data += b"\0\x41" + _signed(offset) + b"\x0b" + _number(len(content)) + content
    module = b"\0asm\1\0\0\0" + _section(5, b"\1\0\1") + _section(11, data)
    return b"\0asm\x0d\0\1\0" + _section(0, b"\4name") + _section(1, module) + _section(0, b"\3end")


def _section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _number(len(body)) + body


def _number(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14])


def _signed(value: int) -> bytes:
    return bytes([value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14])


def _image(component: bytes) -> bytes:
    """The memory that a component made by `immortalise` begins with, up to its last byte that is not zero."""
    assert component[:8] == b"\0asm\x0d\0\1\0"
    assert component.endswith(_section(0, b"\3end").replace(_number(4), b"\4"))
    position = component.index(b"\0asm\1\0\0\0") + 8
    image = bytearray()
    while component[position] != 11:
        size, start = _read(component, position + 1)
        position = start + size
    _, position = _read(component, position + 1)
    count, position = _read(component, position)
    for _ in range(count):
        assert component[position : position + 2] == b"\0\x41"
        offset, position = _read(component, position + 2)
        size, position = _read(component, position + 1)
        image.extend(bytes(offset - len(image)))
        image += component[position : position + size]
        position += size
    return bytes(image).rstrip(b"\0")


def _read(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
