"""Where the applications run: as LIPs of a server, as clients of a server's endpoint, as clients of a library.

Both servers are `symphony serve`, one for each way, lest one finds in its cache what the other has computed. Their CPU
time counts; a client's own does not, as it runs elsewhere. The library is transformers' continuous batching, in one
process with its client, without any HTTP.
Knows nothing of rounds and reports.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import aiohttp

from symphony.bench.child import Child
from symphony.bench.programs.clients import CLIENTS, Written, run_jobs
from symphony.bench.programs.work import APPLICATIONS, Application, Job
from symphony.errors import NotFound, Unavailable
from symphony.resources import resource

SCRIPT = Path(__file__).resolve().parents[4] / "bench" / "peers" / "transformers_programs.py"
BOOT_SECONDS = 600.0
RUN_SECONDS = 600
"""For one run of a program."""
NEVER = -100.0
"""Bias of stop tokens where the number of tokens is fixed."""
TEMPERATURE = 0.8
_TICK = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """One round of an application."""

    results: list[Any]
    computed: int
    """Tokens that went through the model."""
    cpu: float
    wall: float


class Way(Protocol):
    label: str

    def run(self, application: Application, jobs: list[Job]) -> Run: ...


class Server:
    """`symphony serve`, with the programs and the tool of the benchmark."""

    def __init__(self, model: Path, device: str, threads: int, home: Path, options: tuple[str, ...] = ()) -> None:
        """Starts it; raises Unavailable if it does not come up."""
        folder = programs()
        command = [sys.executable, "-m", "symphony.cli.main", "serve", "--model", str(model), "--device", device]
        command += ["--port", "0", "--tools", str(folder / "tools.py"), *options]
        limits = {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "SYMPHONY_HOME": str(home / "programs"),
        }
        home.mkdir()
        self._log = home / "server.log"
        with self._log.open("w") as errors:
            self._process = subprocess.Popen(
                command, env=os.environ | limits, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            self.url, self.report = self._boot()
            asyncio.run(self._upload(folder))
        except BaseException:
            self.close()
            raise

    def _boot(self) -> tuple[str, dict[str, str]]:
        """Where it listens, and what it runs with: lines of a name and a value, apart by two blanks or more."""
        assert self._process.stdout is not None
        lines: list[str] = []
        for line in self._process.stdout:
            lines.append(line.strip())
            if lines[-1].startswith("try:"):
                shown = (line.partition("  ") for line in lines[1:-1] if not line.startswith("home"))
                return lines[0].rsplit(" ", 1)[1], {name: value.strip() for name, _, value in shown}
        raise Unavailable(f"the server ended: {self._log.read_text()[-2000:]}", "start `symphony serve` by hand")

    async def _upload(self, folder: Path) -> None:
        async with aiohttp.ClientSession(self.url) as session:
            for application in APPLICATIONS:
                source = (folder / f"{application.name}.py").read_bytes()
                await answer(session, "POST", f"/v1/programs?name={application.name}", data=source)

    def cpu(self) -> float:
        """Seconds so far, those of processes that it waited for too."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICK

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def programs() -> Path:
    """Where the LIPs of the benchmark lie. Raises NotFound."""
    found = resource("programs", "bench/programs")
    if not (found / "agent.py").is_file():
        raise NotFound("the programs of the benchmark are missing", "run it from a checkout")
    return found


def stop_tokens(model: Path) -> tuple[int, ...]:
    """The ids that end a reply, as the model's directory has them."""
    for name in ("generation_config.json", "config.json"):
        found = json.loads((model / name).read_text()).get("eos_token_id") if (model / name).is_file() else None
        if found is not None:
            return tuple(found) if isinstance(found, list) else (found,)
    return ()


async def answer(session: aiohttp.ClientSession, method: str, path: str, **what: Any) -> Any:
    """The JSON of a response; raises Unavailable for a failure."""
    async with session.request(method, path, **what) as response:
        body = await response.json()
        if response.status >= 300 or "error" in body:
            raise Unavailable(f"{method} {path} gave {response.status}: {body}", "see the server's log")
        return body


@dataclass(slots=True)
class _OverHttp:
    """What both ways of using the server have in common."""

    server: Server
    label: str

    def run(self, application: Application, jobs: list[Job]) -> Run:
        return asyncio.run(self._run(application, jobs))

    async def _run(self, application: Application, jobs: list[Job]) -> Run:
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(self.server.url, timeout=timeout) as session:
            asked = self._asked(session, application)
            computed, wall, cpu = await _computed(session), time.perf_counter(), self.server.cpu()
            results = await run_jobs(asked, jobs, application.at_once)
            cpu, wall = self.server.cpu() - cpu, time.perf_counter() - wall
            return Run(results, await _computed(session) - computed, cpu, wall)

    def _asked(self, session: aiohttp.ClientSession, application: Application) -> Callable[[Job], Awaitable[Any]]:
        raise NotImplementedError


async def _computed(session: aiohttp.ClientSession) -> int:
    return (await answer(session, "GET", "/v1/status"))["models"][0]["computed_tokens"]


class Programs(_OverHttp):
    """Each job is a run of the LIP."""

    def _asked(self, session: aiohttp.ClientSession, application: Application) -> Callable[[Job], Awaitable[Any]]:
        path = f"/v1/programs/{application.name}/run?timeout={RUN_SECONDS}"

        async def run(job: Job) -> Any:
            return (await answer(session, "POST", path, json=job))["result"]

        return run


@dataclass(slots=True)
class Clients(_OverHttp):
    """Each job is a client of the endpoint."""

    stops: tuple[int, ...]

    def _asked(self, session: aiohttp.ClientSession, application: Application) -> Callable[[Job], Awaitable[Any]]:
        model = Endpoint(session, self.stops)

        async def run(job: Job) -> Any:
            return await CLIENTS[application.name](model, **job)

        return run


@dataclass(slots=True)
class Endpoint:
    """OpenAI's routes as a `Model`; prefixes are cached by the server."""

    session: aiohttp.ClientSession
    stops: tuple[int, ...]

    async def complete(self, prompt: str, tokens: int, n: int = 1, seed: int | None = None) -> list[Written]:
        drawn = {"temperature": 0} if seed is None else {"temperature": TEMPERATURE, "seed": seed, "logprobs": 0}
        body = {"prompt": prompt, "max_tokens": tokens, "n": n, "logit_bias": {str(stop): NEVER for stop in self.stops}}
        said = await answer(self.session, "POST", "/v1/completions", json=body | drawn)
        return [Written(one["text"], _score(one["logprobs"])) for one in said["choices"]]

    async def chat(self, text: str, tokens: int, schema: Mapping[str, Any] | None = None) -> str:
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": text}],
            "max_tokens": tokens,
            "temperature": 0,
        }
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        said = await answer(self.session, "POST", "/v1/chat/completions", json=body)
        return said["choices"][0]["message"]["content"]


def _score(logprobs: Mapping[str, Any] | None) -> float:
    return 0.0 if logprobs is None else sum(logprobs["token_logprobs"])


class Library:
    """transformers' continuous batching: `bench/peers/transformers_programs.py`."""

    def __init__(self, model: Path, device: str, threads: int, home: Path) -> None:
        """Raises NotFound without transformers, Unavailable if it does not come up."""
        if importlib.util.find_spec("transformers") is None or not SCRIPT.is_file():
            raise NotFound(
                "transformers, or the checkout's script, is absent", "install the test extra, use a checkout"
            )
        command = [sys.executable, str(SCRIPT), str(model), device, str(threads)]
        self._child = Child("transformers", command, threads, home / "transformers.log")
        self.label = "transformers"
        self.report = self._child.options

    def run(self, application: Application, jobs: list[Job]) -> Run:
        asked = {"name": application.name, "drawn": application.drawn, "at_once": application.at_once, "jobs": jobs}
        said = self._child.request(asked)
        return Run(said["results"], said["computed"], said["cpu"], said["wall"])

    def close(self) -> None:
        self._child.close()
