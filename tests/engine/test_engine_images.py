"""What a page holds, as bytes: read from the device and the host tier, written to other pages, it is the same K/V."""

from __future__ import annotations

import asyncio

import pytest
import torch
from kv_files import File, Pool

from core.core_harness import Host
from core.durable_harness import Bytes
from parity.parity_driver import make_model
from store.store_disk import MemoryDisk
from symphony.bench.disk import bench_disk
from symphony.bench.report import Report
from symphony.core.config import CoreConfig
from symphony.core.depot import DiskLimits
from symphony.core.operator import Operator
from symphony.engine.local import LocalEngine
from symphony.engine.messages import Reading, Readings
from symphony.errors import Invalid
from symphony.kvfs.modes import Principal
from symphony.store.store import Store


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(make_model("small-gqa", tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_pages_are_read_and_written(model, dtype):
    engine = LocalEngine.load(model, device="cpu", dtype=dtype, pages=40, host_pages=8, threads=1)
    try:
        file = File(Pool(engine))
        file.pred(list(range(20, 60)))
        targets = [30, 31, 32]

        async def there_and_back() -> None:
            await engine.move([(file.pages[1], 5)], [])
            one, two, three, again = await engine.read(file.pages, [5])
            assert {len(one), len(two), len(three)} == {engine.info.image_bytes}
            assert again == two, "the host tier holds the same bytes"
            shape = engine.info.image_shape
            kv = torch.frombuffer(bytearray(two), dtype={"F32": torch.float32, "BF16": torch.bfloat16}[shape.dtype])
            kv = kv.reshape(*shape.before, engine.info.page_size, *shape.after)
            page = torch.stack(engine._attention.pool)[:, :, :, file.pages[1]]
            assert torch.equal(kv, page.transpose(2, 3)), "[layers, 2, entries, heads, width], as it says"
            await engine.write(targets, [one, two, three])

        asyncio.run(there_and_back())
        pool = torch.stack(engine._attention.pool)
        assert torch.equal(pool[:, :, :, targets[:2]], pool[:, :, :, file.pages[:2]])
        last = pool[:, :, :, [targets[2], file.pages[2]], :8]  # behind the last entry there is nothing
        assert torch.equal(last[:, :, :, 0], last[:, :, :, 1])
    finally:
        engine.close()


def test_a_synced_file_of_a_model_goes_on_after_a_restart(model, tmp_path):
    def load(pages: int, slots: int | None) -> LocalEngine:
        return LocalEngine.load(model, device="cpu", pages=pages, host_pages=slots, threads=1)

    report = Report("kv")
    asyncio.run(bench_disk(report, load, tmp_path, 100, rounds=1))
    found = {figure.name: figure.value for figure in report.figures}
    assert found["files with the same tokens"] == 1
    assert found["share of the prefix that was reused"] == 1


def test_a_file_of_a_model_goes_to_a_host_with_other_pages(model):
    tokens, who = [(7 * i) % 90 + 5 for i in range(100)], Principal("t", "t")

    def host(page_size: int) -> Host:
        engine = LocalEngine.load(model, device="cpu", pages=40, page_size=page_size, threads=1)
        return Host(engine, CoreConfig(disk=DiskLimits(1 << 24, 1.0)), Store(MemoryDisk()))

    async def asked(h: Host, session: int, file: int) -> Reading:
        (reading,) = await h.pred(session, file, (5, 9), readings=Readings(top_k=5))
        return reading

    async def there() -> None:
        async with host(16) as h:
            session = h.core.open_session("t")
            file = await h.core.create(session, None)
            await h.pred(session, file, tokens)
            await h.core.save(session, file, "/file", False)
            async with Operator(h.core, who).send("/file") as parcel:
                data = b"".join([part async for part in parcel.parts])
            wanted = await asked(h, session, file)
            await h.core.close_file(session, file)
        async with host(24) as h:
            session = h.core.open_session("t")
            for bad in (b"\xff\xff\xff\xff", b"\0\0\x80\x7f"):  # no number; infinity
                spoilt = data[: len(data) - 68] + bad + data[len(data) - 64 :]
                with pytest.raises(Invalid, match="numbers that are none"):
                    await Operator(h.core, who).receive("/file", Bytes(spoilt))
            await Operator(h.core, who).receive("/file", Bytes(data))
            found = await asked(h, session, await h.core.open(session, None, "/file"))
            assert h.core.usage(session).prompt_tokens == 2
            assert found.top_ids == wanted.top_ids
            assert found.top_logprobs == pytest.approx(wanted.top_logprobs, abs=1e-4)

    asyncio.run(there())
