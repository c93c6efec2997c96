"""Whatever is in a model directory is understood or refused with a sentence and a fix; `verify` agrees with loading;
nothing crashes, hangs or fills the memory. Files are damaged byte by byte and member by member.
"""

from __future__ import annotations

import copy
import json
import random
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.model_shapes import Shape, write
from symphony.engine import headers
from symphony.engine.chat import ChatTemplate
from symphony.engine.config import ModelConfig
from symphony.engine.local import LocalEngine
from symphony.engine.messages import GREEDY, Batch, Readings, Row
from symphony.engine.tokenizer import Tokenizer
from symphony.engine.verify import verify
from symphony.engine.weights import Checkpoint
from symphony.errors import Invalid, NotFound, SymphonyError

JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 3, 1 << 24, 1 << 32, 1 << 63, -(1 << 70), 10**400, 0.5, -1e300, float("nan"),
    float("inf"), "", "x", "\ud800", "a" * 10_000, [], [[]], [1] * 1000, {}, {"": {}}, {"type": "Sequence"}, "BPE",
]  # fmt: skip
LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
TOKENIZER = {
    "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
    "added_tokens": [
        {"id": 0, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
    ],
    "pre_tokenizer": LEVEL,
    "decoder": {"type": "Sequence", "decoders": [LEVEL, {"type": "Strip", "content": " ", "start": 1,
                                                                         "stop": 0}]},
    "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False,
              "vocab": {"<s>": 0, "a": 1, "b": 2, "ab": 3, "c": 4}, "merges": [["a", "b"]]},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    shape = Shape(32, 48, 2, 2, 1, 16, vocab_size=64, max_position_embeddings=128)
    directory = write(shape, tmp_path_factory.mktemp("made"), shards=2)
    (directory / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    assert verify(directory).loads
    assert len(list(directory.glob("*.safetensors"))) == 2
    return directory


def load(directory: Path) -> None:
    """What the engine reads, without its work. Raises Invalid or NotFound, nothing else."""
    config = ModelConfig.load(directory)
    weights = Checkpoint(directory, config, torch.device("cpu"))
    for name, _ in config.tensors():
        weights.get(name)
    tokenizer = Tokenizer.load(directory / "tokenizer.json", config.vocab_size)
    tokenizer.decode(tokenizer.encode("ab <s> c\u00e9", special=True))
    ChatTemplate.load(directory)


def examine(directory: Path) -> bool:
    """Whether it loads; what does not is refused in full sentences."""
    verdict = verify(directory)
    for problem in verdict.problems:
        assert problem.what
        assert problem.fix
        assert len(problem.what) < 2000
    refusal: SymphonyError | None = None
    try:
        load(directory)
    except (Invalid, NotFound) as e:
        refusal = e
    assert verdict.loads == (refusal is None), refusal or verdict.problems
    assert refusal is None or (refusal.message and refusal.hint)
    return refusal is None


Rewrite = Callable[[random.Random, bytes], bytes]


def bitten(source: random.Random, data: bytes) -> bytes:
    """A few bytes changed, inserted, removed; or the file cut."""
    text = bytearray(data)
    for _ in range(1 + source.randrange(4)):
        at = source.randrange(min(len(text), 4000) or 1)
        match source.randrange(4):
            case 0:
                text[at : at + 1] = bytes([source.randrange(256)])
            case 1:
                text[at:at] = bytes(source.choice(b'0"{}[],:9-') for _ in range(1 + source.randrange(3)))
            case 2:
                del text[at : at + 1 + source.randrange(30)]
            case 3:
                if not source.randrange(3):
                    del text[at:]
    return bytes(text)


def changed(source: random.Random, tree: Any) -> Any:
    """A JSON value with one of its parts replaced, removed, or doubled under another name."""
    tree = copy.deepcopy(tree)
    part, parts = tree, []
    while isinstance(part, dict | list) and part:
        key = source.choice(list(part)) if isinstance(part, dict) else source.randrange(len(part))
        parts.append((part, key))
        part = part[key]
    holder, key = source.choice(parts)
    match source.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder["more"] = copy.deepcopy(holder[key])
        case _:
            holder[key] = source.choice(JUNK)
    return tree


def rewritten(source: random.Random, data: bytes) -> bytes:
    return json.dumps(changed(source, json.loads(data))).encode("utf-8", "surrogatepass")


def reheaded(source: random.Random, data: bytes) -> bytes:
    """The header of a safetensors file."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(changed(source, json.loads(data[8 : 8 + length]))).encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


SHARD = "model-00001-of-00002.safetensors"
CASES: dict[str, tuple[str, Rewrite, int]] = {
    "config, bytes": ("config.json", bitten, 60),
    "config, members": ("config.json", rewritten, 200),
    "generation config": ("generation_config.json", rewritten, 60),
    "generation config, bytes": ("generation_config.json", bitten, 20),
    "tokenizer, bytes": ("tokenizer.json", bitten, 100),
    "tokenizer, members": ("tokenizer.json", rewritten, 300),
    "tokenizer config": ("tokenizer_config.json", rewritten, 60),
    "template": ("chat_template.jinja", bitten, 100),
    "index, bytes": (headers.INDEX, bitten, 40),
    "index, members": (headers.INDEX, rewritten, 100),
    "weights, bytes": (SHARD, bitten, 60),
    "weights, header": (SHARD, reheaded, 200),
}
"""File, what is done to it, and how often."""


@pytest.mark.parametrize("case", CASES)
def test_damaged_files(case, made, tmp_path):
    name, rewrite, count = CASES[case]
    directory = tmp_path / "model"
    shutil.copytree(made, directory)
    original = (directory / name).read_bytes()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(count):
        (directory / name).write_bytes(rewrite(random.Random(seed), original))
        examine(directory)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300 << 10, "KiB"


@pytest.mark.parametrize("member", ["vocab_size", "hidden_size", "intermediate_size", "max_position_embeddings"])
@pytest.mark.parametrize("value", [1, 3, 1 << 21, (1 << 21) + 1, 1 << 24, 1 << 62])
def test_sizes_that_fit_nothing(member, value, made, tmp_path):
    """Nothing is allocated for what the files do not have."""
    directory = tmp_path / "model"
    shutil.copytree(made, directory)
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {member: value}))
    assert examine(directory) == (member == "max_position_embeddings" and value <= 1 << 21)


def test_what_loads_runs(made, tmp_path):
    """Members of config.json, changed at random: what is accepted computes something, or says that it does not."""
    directory = tmp_path / "model"
    shutil.copytree(made, directory)
    original, ran = (directory / "config.json").read_bytes(), 0
    for seed in range(1000, 1040):
        (directory / "config.json").write_bytes(rewritten(random.Random(seed), original))
        try:
            engine = LocalEngine.load(str(directory), device="cpu", pages=4, host_pages=0, threads=1)
        except SymphonyError:
            continue
        [result] = engine.run(Batch([Row([1, 2, 3], 0, [1, 2], [2], Readings(sample=GREEDY))]))
        assert result.error or result.readings
        engine.close()
        ran += 1
    assert ran > 3


LYING: dict[str, tuple[dict[str, Any], str]] = {
    "overlap": ({"a": [0, 4], "b": [2, 6], "c": [6, 8]}, "overlaps another one"),
    "a gap": ({"a": [0, 4], "b": [5, 8]}, "follows a gap"),
    "the same bytes twice": ({"a": [0, 8], "b": [0, 8]}, "overlaps another one"),
    "a gap before": ({"a": [1, 8]}, "follows a gap"),
    "infinite": ({"a": [0, float("inf")]}, "contradicts itself"),
    "not a number": ({"a": [float("nan"), 8]}, "contradicts itself"),
    "true": ({"a": [False, 8]}, "contradicts itself"),
    "beyond": ({"a": [0, 1 << 60]}, "contradicts itself"),
}


@pytest.mark.parametrize("name", LYING)
def test_places_that_lie(name, tmp_path):
    places, what = LYING[name]
    header = json.dumps({n: {"dtype": "U8", "shape": [8], "data_offsets": p} for n, p in places.items()}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    with pytest.raises(Invalid, match=what):
        headers.read_header(path)


@pytest.mark.parametrize("shape", [[float("inf")], [[1]], ["1"], [1] * 9, [1 << 60], [10**4000] * 3, {"a": 1}, 7, "12"])
def test_shapes_that_lie(shape, tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(Invalid, match="cannot be read"):
        headers.read_header(path)


def test_files_that_are_too_large(made, tmp_path):
    """Sparse files: nothing is read of them."""
    directory = tmp_path / "model"
    shutil.copytree(made, directory)
    for name, size in (
        ("config.json", 17 << 20), ("tokenizer.json", 129 << 20), ("chat_template.jinja", 2 << 20),
        (headers.INDEX, 17 << 20), ("tokenizer_config.json", 17 << 20),
    ):  # fmt: skip
        original = (directory / name).read_bytes()
        with (directory / name).open("r+b") as file:
            file.truncate(size)
        assert not examine(directory), name
        (directory / name).write_bytes(original)
    with (directory / SHARD).open("wb") as file:
        file.write((32 << 20).to_bytes(8, "little"))
        file.truncate(33 << 20)
    assert not examine(directory)
