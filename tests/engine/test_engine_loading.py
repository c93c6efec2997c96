"""Several models at once: names, what is refused, how memory is shared."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from parity.parity_checkpoints import make_checkpoint
from symphony import Config, Runtime, param
from symphony.engine import loading, registry
from symphony.engine.loading import load_models
from symphony.engine.local import LocalEngine
from symphony.engine.placement import ALONE, Budget, host_pages, pool_pages
from symphony.errors import Invalid, NoSpace, NotFound


def test_names(tmp_path):
    assert registry.name_models(["tiny", "draft=tiny", "a.b-c=org/name"]) == [
        ("tiny", "tiny"), ("draft", "tiny"), ("a.b-c", "org/name")
    ]  # fmt: skip
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert registry.name_models([str(odd), "org/x"]) == [("a=b", str(odd)), ("x", "org/x")]
    with pytest.raises(Invalid, match="two models are named 'tiny'") as e:
        registry.name_models(["tiny", "tiny"])
    assert e.value.hint == "give one another name: --model other=tiny"


def test_all_or_none(tmp_path, monkeypatch):
    closed: list[str] = []
    monkeypatch.setattr(LocalEngine, "close", lambda self: closed.append(self.info.name))
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in registry.find("tiny").iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "tokenizer.json").write_text("{}")
    with pytest.raises(Invalid, match=r"the model 'draft' cannot be loaded: .*tokenizer\.json") as caught:
        load_models(["tiny", f"draft={broken}"], device="cpu", pages=8, host_pages=0)
    assert closed == ["tiny"]
    assert caught.value.hint
    with pytest.raises(NotFound, match="the model 'nope' cannot be loaded: there is no model 'nope'"):
        load_models(["tiny", "nope"], device="cpu")
    with pytest.raises(NotFound, match=r"^there is no model 'nope'"):
        load_models(["nope"], device="cpu")
    assert closed == ["tiny"], "what is not there shows before anything is loaded"


def test_what_each_may_take(monkeypatch, tmp_path):
    """Pools of one device hold as many tokens each, and leave room for all weights."""
    seen: list[Budget] = []
    monkeypatch.setattr(loading.LocalEngine, "load", lambda model, budget, **_: seen.append(budget) or Closed())
    monkeypatch.setattr(loading, "find_device", lambda name: torch.device("cuda", 0))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 << 20, 80 << 20))
    small = make_checkpoint("llama-2", tmp_path, torch.bfloat16)
    load_models(["tiny", f"draft={small}"])
    tiny, draft = 8 * 2 * 64, 3 * 4 * 32
    assert [b.host_share for b in seen] == [pytest.approx(s / (tiny + draft)) for s in (tiny, draft)]
    counts = [
        pool_pages(2 * 2 * 16 * entry, 16, 2048, torch.device("cuda", 0), budget)
        for entry, budget in zip((tiny, draft), seen, strict=True)
    ]
    assert abs(counts[0] - counts[1]) <= 1
    weights = sum(
        file.stat().st_size for where in (registry.find("tiny"), small) for file in where.glob("*.safetensors")
    )
    room = ((80 << 20) - weights) * param.KV_POOL_SHARE_GPU
    assert sum(b.pool_bytes for b in seen) == pytest.approx(room, rel=0.01)
    with pytest.raises(NoSpace, match="holds no KV pages"):
        pool_pages(1 << 30, 64, 4096, torch.device("cuda", 0), seen[0])


def test_a_model_alone_takes_what_is_free(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (80 << 20, 80 << 20))
    count = pool_pages(1 << 20, 64, 4096, torch.device("cuda", 0), ALONE)
    assert count == int(80 * param.KV_POOL_SHARE_GPU)
    alone = host_pages(1 << 20, torch.device("cpu"), ALONE)
    assert host_pages(1 << 20, torch.device("cpu"), Budget(host_share=0.5)) == pytest.approx(alone / 2, abs=1)


class Closed:
    def close(self) -> None: ...


def test_a_host_with_a_draft_and_its_target(tmp_path):
    small = make_checkpoint("qwen2", tmp_path)

    async def body() -> None:
        config = Config(pages=40, host_pages=4)
        async with Runtime(["tiny", f"draft={small}"], device="cpu", home=tmp_path / "home", config=config) as rt:
            assert [info.name for info in rt.model_infos()] == ["tiny", "draft"]
            report = rt.describe()
            assert report["model"].endswith("tiny")
            assert report["draft: model"] == str(small)
            assert rt.core.models() == ["tiny", "draft"]
            session = rt.core.open_session("tenant")
            for name, vocabulary in ((None, 4096), ("draft", 4096)):
                assert rt.core.engine(name).info.vocab_size == vocabulary
            assert rt.core.engine("draft").info.digest != rt.core.engine(None).info.digest
            await rt.core.close_session(session)
            await rt.ready()  # runs a token of each

    asyncio.run(body())
    with pytest.raises(Invalid, match="no model to run"):
        asyncio.run(boot([], tmp_path))
    with pytest.raises(Invalid, match="two models are named 'tiny'"):
        asyncio.run(boot(["tiny", "tiny"], tmp_path))


async def boot(models: list[str], home: Path) -> None:
    async with Runtime(models, home=home):
        pass
