"""GET /metrics: the host in numbers for Prometheus and its kin.

`symphony_*` are ours; `vllm:*` are those of https://docs.vllm.ai/en/latest/usage/metrics.html that have a meaning here,
so that dashboards made for vLLM show something: its requests are our operations (waiting, running) or our processes
(latencies, ends). Read off gauges that exist; nothing is measured for this page alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from symphony.access.identity import LOCAL
from symphony.http.auth import who
from symphony.http.context import RUNTIME, SOCKETS, WATCH
from symphony.observe.exposition import MEDIA_TYPE, Exposition, Sample

if TYPE_CHECKING:
    from symphony.core.inspect import ModelGauge
    from symphony.host import Runtime
    from symphony.http.watch import Watch


async def show(request: web.Request) -> web.Response:
    """GET /metrics. What single tenants hold is shown to themselves, and to who operates this machine."""
    runtime, tenant, page = request.app[RUNTIME], who(request).tenant, Exposition()
    gauges = runtime.gauges()
    _models(page, gauges, None if tenant == LOCAL.tenant else tenant)
    _processes(page, runtime)
    _requests(page, request.app[WATCH], len(request.app[SOCKETS]))
    _vllm(page, gauges, runtime)
    return web.Response(text=page.text(), headers={"Content-Type": f"{MEDIA_TYPE}; charset=utf-8"})


def _models(page: Exposition, gauges: Sequence[ModelGauge], tenant: str | None) -> None:
    """`tenant`: whose pages alone are shown."""

    def each(name: str) -> list[Sample]:
        return [({"model": gauge.model}, getattr(gauge, name)) for gauge in gauges]

    page.counter("symphony_steps_total", "Forward steps.", each("steps"))
    page.counter("symphony_computed_tokens_total", "Tokens that went through the model.", each("computed_tokens"))
    page.counter("symphony_prompt_tokens_total", "Of these, tokens that programs gave.", each("prompt_tokens"))
    page.counter("symphony_generated_tokens_total", "Tokens that were drawn.", each("generated_tokens"))
    page.counter("symphony_reused_tokens_total", "Tokens whose K/V was found, not computed.", each("reused_tokens"))
    page.counter("symphony_guesses_total", "Predictions begun before a program asked for them.", each("guesses"))
    page.counter("symphony_guesses_right_total", "Of these, those that it asked for.", each("guesses_right"))
    page.gauge("symphony_tokens_per_second", "Tokens through the model, lately.", each("tokens_per_second"))
    page.gauge("symphony_step_rows", "Rows of the last step.", each("rows"))
    page.gauge("symphony_operations_active", "Operations that have work for the model.", each("active"))
    page.gauge("symphony_operations_starved", "Of these, those that wait for pages.", each("starved"))
    page.gauge("symphony_operations_parked", "Generations that wait for their program.", each("parked"))
    page.gauge("symphony_kv_files", "KV files, named or open.", each("files"))
    page.gauge("symphony_kv_page_tokens", "Tokens of a page.", each("page_size"))
    page.gauge("symphony_kv_page_bytes", "Bytes of a page; 0: unknown.", each("page_bytes"))
    page.counter("symphony_kv_pages_moved_out_total", "Pages copied to the host.", each("moved_out"))
    page.counter("symphony_kv_pages_moved_back_total", "Pages copied back.", each("moved_back"))
    page.counter("symphony_kv_pages_fetched_total", "Pages read from disk.", each("fetched"))
    page.counter("symphony_kv_pages_saved_total", "Pages written to disk for want of room.", each("saved"))
    page.counter("symphony_kv_tokens_dropped_total", "Entries given up, to be computed again.", each("dropped_tokens"))
    page.counter("symphony_preemptions_total", "Operations that had to give up their pages.", each("preemptions"))
    page.gauge("symphony_kv_pages", "Pages by tier and use.", _tiers(gauges))
    page.gauge("symphony_kv_tenant_pages", "Pages by tenant.", _by_tenant(gauges, tenant))


def _tiers(gauges: Sequence[ModelGauge]) -> Iterable[Sample]:
    for gauge in gauges:
        for tier, pages in (("device", gauge.pages), ("host", gauge.slots), ("disk", gauge.disk)):
            for use, count in (("free", pages.free), ("cached", pages.cached), ("used", pages.used)):
                yield {"model": gauge.model, "tier": tier, "use": use}, count


def _by_tenant(gauges: Sequence[ModelGauge], tenant: str | None) -> Iterable[Sample]:
    for gauge in gauges:
        for tier, pages in (("device", gauge.pages), ("host", gauge.slots), ("disk", gauge.disk)):
            for name, count in sorted(pages.tenants.items()):
                if tenant in (None, name):
                    yield {"model": gauge.model, "tier": tier, "tenant": name}, count


def _processes(page: Exposition, runtime: Runtime) -> None:
    tally = runtime.tally
    live = [process for process in runtime.processes() if not process.state.ended]
    states = Counter(process.state.value for process in live)
    page.gauge("symphony_processes", "Live processes by state.", [({"state": s}, n) for s, n in sorted(states.items())])
    page.counter("symphony_processes_started_total", "Launches.", [({}, tally.started)])
    ends = [({"how": how}, count) for how, count in sorted(tally.ended.items())]
    page.counter("symphony_processes_ended_total", "Processes that have ended, by how.", ends)
    cpu = (tally.cpu_ns + sum(process.cpu_ns for process in live)) / 1e9
    page.counter("symphony_process_cpu_seconds_total", "CPU time that processes used.", [({}, cpu)])
    if (crew := runtime.crew) is not None:
        workers = [({"worker": str(worker.number)}, int(worker.serving)) for worker in crew.workers]
        guests = [({"worker": str(worker.number)}, len(worker.guests)) for worker in crew.workers]
        page.gauge("symphony_worker_up", "1: it takes programs; 0: it was lost and is being replaced.", workers)
        page.gauge("symphony_worker_processes", "Processes by the worker that runs them.", guests)
        page.counter("symphony_workers_lost_total", "Workers that were lost.", [({}, crew.lost)])
    page.histogram("symphony_process_seconds", "From the launch to the end.", [({}, tally.lasted)])
    page.histogram("symphony_process_first_output_seconds", "From the launch to the first output.", [({}, tally.spoke)])


def _requests(page: Exposition, watch: Watch, sockets: int) -> None:
    answers = [
        ({"method": method, "route": route, "status": str(status)}, count)
        for (method, route, status), count in sorted(watch.answers.items())
    ]
    page.counter("symphony_http_requests_total", "Requests that were answered; 499: the client left.", answers)
    seconds = [({"route": route}, histogram) for route, histogram in sorted(watch.seconds.items())]
    page.histogram("symphony_http_request_seconds", "From a request's head to the end of its answer.", seconds)
    page.gauge("symphony_http_websockets", "Open WebSockets.", [({}, sockets)])


def _vllm(page: Exposition, gauges: Sequence[ModelGauge], runtime: Runtime) -> None:
    """Of processes it is not known which of several models they use: they count for the default one."""

    def each(name: str) -> list[Sample]:
        return [({"model_name": gauge.model}, getattr(gauge, name)) for gauge in gauges]

    tally, default = runtime.tally, {"model_name": gauges[0].model}
    running = [({"model_name": gauge.model}, gauge.active - gauge.starved) for gauge in gauges]
    full = [({"model_name": gauge.model}, gauge.pages.used / max(gauge.pages.capacity, 1)) for gauge in gauges]
    asked = [({"model_name": gauge.model}, gauge.prompt_tokens + gauge.reused_tokens) for gauge in gauges]
    reasons = [
        ({**default, "finished_reason": reason}, tally.ended[how])
        for how, reason in (("result", "stop"), ("error", "error"), ("killed", "abort"))
    ]
    page.gauge("vllm:num_requests_running", "Operations in a step or ready for one.", running)
    page.gauge("vllm:num_requests_waiting", "Operations that wait for pages.", each("starved"))
    page.gauge("vllm:kv_cache_usage_perc", "Share of the device's pages in use, 0 to 1.", full)
    page.counter("vllm:prompt_tokens_total", "Tokens that programs gave.", each("prompt_tokens"))
    page.counter("vllm:generation_tokens_total", "Tokens that were drawn.", each("generated_tokens"))
    page.counter("vllm:num_preemptions_total", "Operations that gave up their pages.", each("preemptions"))
    page.counter("vllm:prefix_cache_queries_total", "Tokens that were looked up.", asked)
    page.counter("vllm:prefix_cache_hits_total", "Of these, tokens whose K/V was found.", each("reused_tokens"))
    page.counter("vllm:request_success_total", "Processes that have ended, by how.", reasons)
    page.histogram("vllm:e2e_request_latency_seconds", "From the launch to the end.", [(default, tally.lasted)])
    page.histogram("vllm:time_to_first_token_seconds", "From the launch to the first output.", [(default, tally.spoke)])
