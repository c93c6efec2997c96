"""`verify` finds everything that is wrong with a directory, at once, and agrees with loading; nothing is executed."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from parity.parity_checkpoints import make_checkpoint
from symphony.engine import headers, registry
from symphony.engine.local import LocalEngine
from symphony.engine.verify import verify
from symphony.errors import Invalid, NotFound

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_checkpoint("qwen3", tmp_path_factory.mktemp("made"))


@pytest.fixture
def model(made, tmp_path):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def write(name: str, content: Any) -> Callable[[Path], None]:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda directory: (directory / name).write_bytes(text) and None


def update(name: str, **members: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).write_text(json.dumps(json.loads((directory / name).read_text()) | members))

    return change


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def rewrite(directory: Path) -> None:
        tensors = load_file(directory / WEIGHTS)
        change(tensors)
        save_file(tensors, directory / WEIGHTS)

    return rewrite


def remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def cut(directory: Path) -> None:
    (directory / WEIGHTS).write_bytes((directory / WEIGHTS).read_bytes()[:-7])


def no_stop_token(directory: Path) -> None:
    update("config.json", eos_token_id=None)(directory)
    remove("generation_config.json")(directory)


def shard(directory: Path) -> None:
    """Two shards, one of which is absent, and an index."""
    tensors = load_file(directory / WEIGHTS)
    names = sorted(tensors)
    places = {name: f"{'a' if i % 2 else 'b'}.safetensors" for i, name in enumerate(names)}
    save_file({n: tensors[n] for n in names if places[n] == "a.safetensors"}, directory / "a.safetensors")
    (directory / headers.INDEX).write_text(json.dumps({"weight_map": places}))


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("unpickled"),)


def pickled(directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))


LAYER = "model.layers.1."
WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (remove("config.json"), "config.json does not exist"),
    "no tokenizer": (remove("tokenizer.json"), "tokenizer.json does not exist"),
    "no weights": (remove(WEIGHTS), "model.safetensors does not exist"),
    "weights cut short": (cut, "it is cut short"),
    "a shard is absent": (shard, "b.safetensors does not exist, but model.safetensors.index.json names it"),
    "index without names": (write(headers.INDEX, {"weight_map": {}}), "names no files"),
    "index leads elsewhere": (write(headers.INDEX, {"weight_map": {"a": "../x.safetensors"}}), "files elsewhere"),
    "index names a pickle": (write(headers.INDEX, {"weight_map": {"a": "pytorch_model.bin"}}), "names no files"),
    "index nested deeply": (write(headers.INDEX, b"[" * 100_000), "is not JSON"),
    "config nested deeply": (write("config.json", b'{"a":' * 100_000), "is not JSON"),
    "a tensor is missing": (weights(lambda t: t.pop(LAYER + "mlp.up_proj.weight")), f"lack {LAYER}mlp.up_proj.weight"),
    "a tensor too many": (
        weights(lambda t: t.update({LAYER + "self_attn.q_proj.bias": torch.zeros(128)})), "does not use"
    ),
    "LoRA inside": (weights(lambda t: t.update({"q.lora_A.weight": torch.zeros(2, 2)})), "does not use"),
    "another shape": (
        weights(lambda t: t.update({LAYER + "mlp.up_proj.weight": torch.zeros(5, 64)})),
        "has the shape [5, 64], not [96, 64]",
    ),
    "whole numbers": (
        weights(lambda t: t.update({"model.norm.weight": torch.zeros(64, dtype=torch.int8)})), "stored as I8"
    ),
    "no architecture": (update("config.json", architectures=None), "architecture None"),
    "mixture of experts": (
        update("config.json", architectures=["Qwen3MoeForCausalLM"], num_experts=8), "mixtures of experts"
    ),
    "quantised": (update("config.json", quantization_config={"bits": 4}), "quantised weights"),
    "vision": (update("config.json", architectures=["LlavaForConditionalGeneration"]), "text alone"),
    "remote code": (update("config.json", auto_map={"AutoModelForCausalLM": "code.Model"}), "never run"),
    "an adapter": (write("adapter_config.json", {"peft_type": "LORA"}), "LoRA adapter"),
    "only pickles": (pickled, "only pickled weights"),
    "broken template": (write("chat_template.jinja", b"{% if %}"), "chat template"),
    "broken tokenizer": (write("tokenizer.json", {"model": 3}), "is not a tokenizer"),
}  # fmt: skip
"""What keeps a model from loading."""
ODD: dict[str, tuple[Callable[[Path], None], str]] = {
    "not finite": (
        weights(lambda t: t["model.layers.2.mlp.down_proj.weight"].view(-1)[-1].fill_(float("nan"))),
        "not finite: model.layers.2.mlp.down_proj.weight",
    ),
    "infinite": (weights(lambda t: t["model.norm.weight"][0].fill_(float("-inf"))), "not finite: model.norm.weight"),
    "zeros": (weights(lambda t: t["model.embed_tokens.weight"].zero_()), "zeros only: model.embed_tokens.weight"),
    "no stop token": (
        no_stop_token,
        "there is no stop token",
    ),
    "a stop token beyond": (update("generation_config.json", eos_token_id=[2, 99999]), "outside the vocabulary: 99999"),
    "turns end otherwise": (update("generation_config.json", eos_token_id=[7]), "eos_token '<|im_end|>' (2)"),
    "a template that fails": (write("chat_template.jinja", b"{{ raise_exception('no') }}"), "a greeting cannot be"),
    "an endless template": (
        write("chat_template.jinja", b"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"),
        "a greeting cannot be",
    ),
}  # fmt: skip
"""What loads, but will not please."""


def words(directory: Path) -> str:
    return "\n".join(problem.what for problem in verify(directory).problems)


def test_what_is_fine(model):
    verdict = verify(model)
    assert verdict.problems == []
    assert verdict.loads
    assert (verdict.tensors, verdict.files) == (35, 1)
    assert verify(registry.find("tiny")).problems == []


@pytest.mark.parametrize("name", WRONG)
def test_what_keeps_a_model_from_loading(name, model, monkeypatch):
    monkeypatch.chdir(model)
    change, what = WRONG[name]
    change(model)
    verdict = verify(model)
    assert not verdict.loads
    assert what in words(model)
    assert all(problem.fix for problem in verdict.problems)
    with pytest.raises((Invalid, NotFound)):
        LocalEngine.load(str(model), device="cpu", pages=8, host_pages=0)
    assert not (model / "unpickled").exists()


@pytest.mark.parametrize("name", ODD)
def test_what_loads_all_the_same(name, model):
    change, what = ODD[name]
    change(model)
    verdict = verify(model)
    assert verdict.loads
    assert what in words(model)
    assert all(problem.fix for problem in verdict.problems)
    LocalEngine.load(str(model), device="cpu", pages=8, host_pages=0).close()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_numbers_that_are_not_finite(dtype, tmp_path):
    directory = make_checkpoint("llama-2", tmp_path, dtype)
    assert verify(directory).problems == []
    weights(lambda t: t["lm_head.weight"][0, 0].fill_(float("inf")))(directory)
    assert "not finite: lm_head.weight" in words(directory)


def test_a_tokenizer_with_more_ids_than_the_model(made, tmp_path):
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    extra = {
        "id": 5000, "content": "<extra>", "special": True, "single_word": False, "lstrip": False, "rstrip": False,
        "normalized": False,
    }  # fmt: skip
    spec = json.loads((tmp_path / "tokenizer.json").read_text())
    spec["added_tokens"].append(extra)
    spec["model"]["vocab"]["<extra>"] = 5000
    (tmp_path / "tokenizer.json").write_text(json.dumps(spec))
    assert "ids up to 5000, the model's vocabulary ends at 4095" in words(tmp_path)
    assert verify(tmp_path).loads


def test_everything_at_once(model):
    update("config.json", auto_map={"a": "b"}, quantization_config={"bits": 4}, hidden_act="gelu")(model)
    remove("tokenizer.json")(model)
    cut(model)
    write("chat_template.jinja", b"{% if %}")(model)
    found = words(model)
    for what in ("auto_map", "quantization_config", "'gelu'", "tokenizer.json", "cut short", "chat template"):
        assert what in found, found
    assert len(verify(model).problems) == 6


def test_many_tensors_are_counted_not_listed(model):
    update("config.json", num_hidden_layers=50)(model)
    [problem] = verify(model).problems
    assert problem.what.startswith("the weights lack model.layers.3.input_layernorm.weight, ")
    assert problem.what.endswith(" and 514 more")


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\x00" * 7,
        (1 << 40).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"[]",
        (2).to_bytes(8, "little") + b"{}" + b"more",
        *(
            len(text).to_bytes(8, "little") + text + bytes(4)
            for text in (
                b'{"a": 3}',
                b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
                b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
                b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
                b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
                b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}',
                b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
                b'{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}',
                b"[" * 50_000,
            )
        ),
    ],
)
def test_headers_that_lie(header, tmp_path):
    (tmp_path / "x.safetensors").write_bytes(header)
    with pytest.raises(Invalid, match=r"x\.safetensors cannot be read"):
        headers.read_header(tmp_path / "x.safetensors")
