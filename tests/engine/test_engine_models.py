"""Model directories: what is refused, with which words; where names lead."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from symphony.engine import registry
from symphony.engine.config import ModelConfig, RopeScaling
from symphony.engine.local import LocalEngine
from symphony.engine.weights import digest, weight_files
from symphony.errors import Invalid, NotFound, Unavailable

TINY = registry.find("tiny")
RAW = json.loads((TINY / "config.json").read_text())


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for file in TINY.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_tiny_is_described():
    config = ModelConfig.load(TINY)
    assert (config.layers, config.heads, config.kv_heads, config.head_dim) == (8, 4, 2, 64)
    assert (config.stop_tokens, config.bos_token, config.tied_embeddings) == ((2, 0), 0, True)
    assert config.rope_scaling is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, "GPT2LMHeadModel.* is not supported"),
        ({"architectures": None}, "None is not supported"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "code that comes with the model"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
        ({"attention_bias": True}, "biases in the attention"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"partial_rotary_factor": 0.5}, "partial rotary"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "yarn"),
        ({"hidden_size": "big"}, "hidden_size is 'big'"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_key_value_heads": 3}, "do not fit"),
    ],
)
def test_what_is_not_supported_is_refused(change, words):
    with pytest.raises(Invalid, match=words):
        ModelConfig.parse(RAW | change, {}, "config.json")


def test_both_spellings_of_rope():
    new = {"rope_type": "linear", "factor": 2.0, "rope_theta": 5e5}
    config = ModelConfig.parse({**RAW, "rope_theta": None, "rope_parameters": new}, {}, "")
    assert (config.rope_theta, config.rope_scaling) == (5e5, RopeScaling("linear", 2.0))
    assert config.rope_frequencies()[0] == 0.5


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(NotFound, match=name.replace(".", r"\.")) as e:
        LocalEngine.load(str(copy), device="cpu")
    assert e.value.hint


def test_broken_files(copy):
    (copy / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(Invalid, match="cannot be read"):
        LocalEngine.load(str(copy), device="cpu")
    (copy / "config.json").write_text("{")
    with pytest.raises(Invalid, match="not JSON"):
        LocalEngine.load(str(copy), device="cpu")


def test_pickles_are_refused_with_the_reason(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(Invalid, match="runs whatever code it contains"):
        LocalEngine.load(str(copy), device="cpu")


def test_shapes_are_checked(copy):
    weights = load_file(copy / "model.safetensors")
    name = "model.layers.3.mlp.up_proj.weight"
    save_file({**weights, name: torch.zeros(5, 256)}, copy / "model.safetensors")
    with pytest.raises(Invalid, match=rf"{name} has the shape \[5, 256\], not \[704, 256\]"):
        LocalEngine.load(str(copy), device="cpu")
    del weights[name]
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(Invalid, match=f"lack {name}"):
        LocalEngine.load(str(copy), device="cpu")


def test_shards(copy):
    (copy / "model.safetensors").unlink()
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (copy / "one.safetensors").touch()
    with pytest.raises(NotFound, match=r"two\.safetensors"):
        weight_files(copy)
    (copy / "two.safetensors").touch()
    assert [p.name for p in weight_files(copy)] == ["one.safetensors", "two.safetensors"]
    index["weight_map"]["a"] = "../one.safetensors"
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Invalid, match="elsewhere"):
        weight_files(copy)


def test_the_digest_is_of_the_contents(copy):
    files = weight_files(copy)
    before = digest(files, "float32")
    assert digest(weight_files(TINY), "float32") == before
    assert digest(files, "bfloat16") != before
    weights = load_file(copy / "model.safetensors")
    weights["model.norm.weight"][0] += 1
    save_file(weights, copy / "model.safetensors")
    assert digest(files, "float32") != before


def test_names(tmp_path, monkeypatch):
    assert registry.find(str(tmp_path)) == tmp_path
    for nothing in ("nope", "", " "):
        with pytest.raises(NotFound, match=f"no model '{nothing}'"):
            registry.find(nothing)
    monkeypatch.chdir(tmp_path)
    assert registry.find(".") == Path()
    with pytest.raises(NotFound, match="no model ''"):
        LocalEngine.load("", device="cpu")
    (tmp_path / "file").touch()
    with pytest.raises(NotFound, match="not a model directory"):
        registry.find(str(tmp_path / "file"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFound) as e:
        registry.find("org/name")
    assert e.value.hint == "run: hf download org/name"
    snapshot = tmp_path / "models--org--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    assert registry.find("org/name") == snapshot
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("abc\n")
    (snapshot.parent / "def").mkdir()
    assert registry.find("org/name") == snapshot
    assert registry.short_name("org/name") == "name"


def test_devices_types_and_back_ends_that_are_not_there():
    with pytest.raises(Invalid, match="no dtype 'int3'"):
        LocalEngine.load("tiny", device="cpu", dtype="int3")
    with pytest.raises(Invalid, match="not supported"):
        LocalEngine.load("tiny", device="meta")
    with pytest.raises(Invalid, match="no device"):
        LocalEngine.load("tiny", device="toaster")
    with pytest.raises(Unavailable, match="no attention back end 'flash'"):
        LocalEngine.load("tiny", device="cpu", attention="flash")
