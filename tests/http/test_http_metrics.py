"""`/metrics`: a page that Prometheus can read, with numbers that move as they should; ids of requests; the log."""

from __future__ import annotations

import io
import json
import logging
import re

import pytest
from fake_runtime import FakeRuntime
from server_fixture import Client, with_server

from symphony.observe.exposition import Exposition, Histogram
from symphony.observe.logs import written

SAMPLE = re.compile(r'([a-z0-9_:]+)(?:{((?:[a-z_]+="(?:[^"\\\n]|\\["\\n])*",?)*)})? (-?[0-9.e+-]+)')


def parsed(text: str) -> dict[str, float]:
    """Samples by name and labels, read strictly: each of a family that was announced, no family twice."""
    samples: dict[str, float] = {}
    kinds: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in kinds
            kinds[family] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            family = name if name in kinds else name.rsplit("_", 1)[0]
            assert kinds[family] == "histogram" if family != name else True, line
            assert kinds[family] != "counter" or name.endswith("_total"), line
            key = f"{name}{{{labels}}}" if labels else name
            assert key not in samples
            samples[key] = float(value)
    return samples


def test_the_format() -> None:
    page, seconds = Exposition(), Histogram((0.5, 1.0))
    for value in (0.5, 0.6, 7.0):
        seconds.add(value)
    page.gauge("a", "with\na break and a \\", [({"x": 'quote " back \\ line\n'}, 1.5)])
    page.histogram("b", "Seconds.", [({"r": "/"}, seconds)])
    assert page.text() == (
        "# HELP a with a break and a \\\\\n# TYPE a gauge\n"
        'a{x="quote \\" back \\\\ line\\n"} 1.5\n'
        "# HELP b Seconds.\n# TYPE b histogram\n"
        'b_bucket{r="/",le="0.5"} 1\nb_bucket{r="/",le="1.0"} 2\nb_bucket{r="/",le="+Inf"} 3\n'
        'b_sum{r="/"} 8.1\nb_count{r="/"} 3\n'
    )


def test_the_page_and_what_it_counts() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        await runtime.write("/notes", "x" * 40, tenant="acme")
        await client.get("/v1/models")
        await client.get("/v1/models/none")
        await client.get("/nothing/here")
        await client.request("PROPFIND", "/healthz")
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        samples = parsed(await answer.text())
        counted = "symphony_http_requests_total"
        assert samples[f'{counted}{{method="GET",route="/v1/models",status="200"}}'] == 1
        assert samples[f'{counted}{{method="GET",route="/v1/models/{{name}}",status="404"}}'] == 1
        assert samples[f'{counted}{{method="GET",route="none",status="404"}}'] == 1
        assert samples[f'{counted}{{method="other",route="none",status="405"}}'] == 1
        assert samples['symphony_http_request_seconds_count{route="/v1/models"}'] == 1
        model = runtime.gauges()[0].model
        assert samples[f'symphony_prompt_tokens_total{{model="{model}"}}'] == 40
        assert samples[f'vllm:prompt_tokens_total{{model_name="{model}"}}'] == 40
        assert samples[f'symphony_kv_tenant_pages{{model="{model}",tier="device",tenant="acme"}}'] > 0
        uses = [samples[f'symphony_kv_pages{{model="{model}",tier="device",use="{u}"}}'] for u in ("free", "used")]
        assert samples[f'vllm:kv_cache_usage_perc{{model_name="{model}"}}'] == pytest.approx(uses[1] / 256, abs=0.01)

    with_server(test)


def test_requests_have_ids_and_lines_in_the_log() -> None:
    said = io.StringIO()

    async def test(client: Client, runtime: FakeRuntime) -> None:
        with written("json", "info", said):
            named = await client.get("/v1/models", headers={"X-Request-Id": "mine-7"})
            forged = await client.get("/v1/nothing\n{", headers={"X-Request-Id": "no id"})
            await client.post("/v1/run", data=b"echo", headers={"X-Request-Id": "mine-8"})
            logging.getLogger("symphony.http").error("two\nlines", exc_info=ValueError("x"))
            logging.getLogger("symphony.http").debug("too low")
        assert named.headers["X-Request-Id"] == "mine-7"
        assert re.fullmatch("[0-9a-f]{16}", forged.headers["X-Request-Id"])
        assert runtime.launched[0][2].request == "mine-8"

    with_server(test)
    lines = [json.loads(line) for line in said.getvalue().splitlines()]
    first = lines[0]
    assert (first["level"], first["request"], first["tenant"], first["status"]) == ("info", "mine-7", "local", 200)
    assert (first["method"], first["route"], first["from"]) == ("GET", "/v1/models", "symphony.http")
    assert [line.get("status") for line in lines] == [200, 404, 200, None]
    assert "ValueError" in lines[-1]["stack"]


def test_the_log_for_people_has_a_line_for_each_record() -> None:
    said = io.StringIO()
    with written("text", "info", said):
        logging.getLogger("symphony.process").info("process 7 said \x1b[31mred\nand more", extra={"pid": 7})
    assert re.fullmatch(r"\d\d:\d\d:\d\d info  process 7 said \\x1b\[31mred\\nand more  pid=7\n", said.getvalue())
