"""Model directories that cannot be loaded: the message names the file, and the hint what to do."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_host import CACHE

from symphony import Config, Runtime
from symphony.errors import Invalid, NotFound, SymphonyError
from symphony.sandbox.config import SandboxConfig

TINY = Path(__file__).resolve().parents[2] / "runtime" / "symphony" / "models" / "tiny"


def boot(model: str, home: Path) -> None:
    async def body() -> None:
        config = Config(sandbox=SandboxConfig(max_instances=4), cache=CACHE)
        async with Runtime(model, device="cpu", home=home, config=config):
            pass

    asyncio.run(body())


def set_config(**members: object) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | members))

    return change


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda directory: (directory / name).write_bytes(content) and None


def remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def cut(directory: Path) -> None:
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])


def pickled(directory: Path) -> None:
    (directory / "model.safetensors").unlink()
    (directory / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n.")


BROKEN: dict[str, tuple[Callable[[Path], None], type[SymphonyError], str]] = {
    "no config": (remove("config.json"), NotFound, "config.json does not exist"),
    "no tokenizer": (remove("tokenizer.json"), NotFound, "tokenizer.json does not exist"),
    "no weights": (remove("model.safetensors"), NotFound, "model.safetensors does not exist"),
    "config is no JSON": (write("config.json", b"{"), Invalid, "config.json is not JSON"),
    "config is no UTF-8": (write("config.json", b"\xff\xfe"), Invalid, "config.json is not JSON"),
    "config is a list": (write("config.json", b"[]"), Invalid, "config.json is not a JSON object"),
    "tokenizer is no JSON": (write("tokenizer.json", b"{"), Invalid, "tokenizer.json is not a tokenizer"),
    "weights are cut": (cut, Invalid, "model.safetensors cannot be read"),
    "weights are empty": (write("model.safetensors", b""), Invalid, "model.safetensors cannot be read"),
    "weights lie about their header": (
        write("model.safetensors", b"\xff" * 7 + b"\x7f" + bytes(64)), Invalid, "model.safetensors cannot be read"
    ),
    "weights are a pickle": (pickled, Invalid, "only pickled weights"),
    "other architecture": (set_config(architectures=["GPT2LMHeadModel"]), Invalid, "GPT2LMHeadModel"),
    "no architecture": (set_config(architectures=None), Invalid, "architecture"),
    "code of its own": (set_config(auto_map={"AutoModel": "x.py"}), Invalid, "auto_map"),
    "other size": (set_config(hidden_size=64), Invalid, "shape"),
    "more layers than weights": (set_config(num_hidden_layers=99), Invalid, "the weights lack"),
    "no layers": (set_config(num_hidden_layers=0), Invalid, "num_hidden_layers"),
    "a text for a number": (set_config(hidden_size="large"), Invalid, "hidden_size"),
    "a text for another number": (set_config(rms_norm_eps="small"), Invalid, "rms_norm_eps"),
    "a text for theta": (set_config(rope_theta="large"), Invalid, "rope_theta"),
    "rope scaling without its factor": (set_config(rope_scaling={"rope_type": "linear"}), Invalid, "factor"),
    "a template that is none": (write("chat_template.jinja", b"{% if %}"), Invalid, "chat template"),
    "a template that is no text": (write("chat_template.jinja", b"\xff\xfe"), Invalid, "chat_template.jinja"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_directory_that_cannot_be_loaded(name: str, tmp_path: Path) -> None:
    refused(*BROKEN[name], tmp_path)


def refused(change: Callable[[Path], None], kind: type[SymphonyError], what: str, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(TINY, directory)
    change(directory)
    with pytest.raises(kind) as caught:
        boot(str(directory), tmp_path / "home")
    assert what in caught.value.message, caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("model", "what"),
    [
        ("gpt-17", "gpt-17"),
        ("/nowhere/model", "/nowhere/model"),
        ("nobody/nothing", "nobody/nothing"),
        (str(TINY / "config.json"), "is a file"),
        ("../../..//x", "../../..//x"),
    ],
)
def test_a_model_that_is_not_there(model: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        boot(model, tmp_path / "home")
    assert what in caught.value.message
    assert caught.value.hint
