"""`symphony bench engine --peers`: our engine beside others, on the same weights and prompts.

Each engine is a process in an environment of its own (`bench/peers`), which is stopped while another one is measured.
CPU-seconds are what counts, since machines are shared. It knows no engine's API: that is in the peers' scripts.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from symphony.bench.report import Report
from symphony.errors import Invalid, NotFound, Unavailable

SCRIPTS = Path(__file__).resolve().parents[3] / "bench"
ANSWER_SECONDS = 1800.0
"""For one answer of an engine; loading counts as one."""
_LOWEST = 512
"""Token ids below may be special."""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One workload: so many prompts at once."""

    name: str
    requests: int
    prompt: int
    new: int
    prefix: int = 0
    """Tokens that all of a round's prompts with a prefix begin with."""
    bounds: Mapping[str, float] = field(default_factory=dict[str, float])
    """Least ratios to peers; "torch/NAME": without the native operation."""


PARTS: tuple[tuple[Row, ...], ...] = (
    (Row("1 x 64/24", 1, 64, 24, bounds={"vllm": 1.3}),),
    (Row("16 x 64/24", 16, 64, 24, bounds={"vllm": 1.05}),),
    (Row("64 x 8/64", 64, 8, 64, bounds={"vllm": 1.1, "torch/vllm": 1.0}),),
    (
        Row("16 x 1,024 shared + 16/4, cold", 16, 16, 4, 1024, {"vllm": 0.95}),
        Row("16 x 1,024 shared + 16/4, warm", 16, 16, 4, 1024, {"vllm": 0.95}),
        Row("16 x 1,024 shared + 16/64, warm", 16, 16, 64, 1024, {"vllm": 0.95}),
    ),
    (Row("16 x 1,040/4, nothing shared", 16, 1040, 4, bounds={"vllm": 0.95}),),
)
"""Rows of one part run one after the other in the same engine: a prefix stays warm."""
WITHOUT = "symphony torch"
"""Ours without the native operations: measured where something is promised of it."""
EVERYWHERE = {"transformers": 2.0, "llama.cpp": 1.25}
"""Least ratios in every row."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run an engine."""

    engine: str
    python: str
    script: str
    how: str

    @property
    def label(self) -> str:
        return self.engine if self.engine.endswith(self.how) else f"{self.engine} {self.how}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What all engines have in common."""

    model: Path
    dtype: str
    threads: int
    vocab: int


_OTHERS = {
    "vllm": ("vllm_cpu.py", ("eager", "compiled")),
    "transformers": ("transformers_cb.py", ("eager", "compiled")),
    "llama.cpp": ("llama_cpp.py", ("16", "64")),
}


def find_peers(given: Mapping[str, str], tell: Tell) -> list[list[Way]]:
    """The ways of each engine that is there, ours first; tells which are absent.

    `given`: interpreters by name; an empty one leaves that peer out. Raises NotFound, Invalid.
    """
    script = "symphony_core.py"
    if not (SCRIPTS / "peers" / script).is_file():
        raise NotFound("the peers' scripts are not installed", "run it from a checkout")
    if unknown := given.keys() - _OTHERS.keys():
        raise Invalid(f"there is no peer {min(unknown)!r}", f"there are {', '.join(_OTHERS)}")
    found = [[Way(f"symphony {how}", sys.executable, script, how)] for how in ("native", "torch")]
    for name, (script, ways) in _OTHERS.items():
        if given.get(name) == "":
            tell(f"{name} is left out")
            continue
        python = given.get(name) or _default_python(name)
        if python is None or not Path(python).is_file():
            tell(f"{name} is absent: {_hint(name)}")
            continue
        found.append([Way(name, python, script, how) for how in ways])
    return found


def _default_python(name: str) -> str | None:
    if name == "transformers":
        return sys.executable if importlib.util.find_spec("transformers") else None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("SYMPHONY_PEERS") or cache / "symphony" / "peers")
    return str(home / name / "bin" / "python")


def _hint(name: str) -> str:
    return "install the test extra" if name == "transformers" else f"bench/peers/setup.sh {name} installs it"


class Worker:
    """An engine's process: asked one thing at a time, and stopped in between."""

    def __init__(self, way: Way, setting: Setting, log: Path) -> None:
        """Starts it; raises Unavailable if it does not come up."""
        self.way = way
        self._log = log
        s = setting
        command = [way.python, str(SCRIPTS / "peers" / way.script), str(s.model), s.dtype, str(s.threads), way.how]
        threads = {"OMP_NUM_THREADS": str(s.threads), "MKL_NUM_THREADS": str(s.threads)}
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                env=os.environ | threads,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        try:
            self.options = self._read("READY")
            self._signal(signal.SIGSTOP)
        except BaseException:
            self.close()
            raise

    def ask(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> dict[str, Any]:
        """Tokens, CPU-seconds and seconds. Raises Unavailable if it died."""
        self._signal(signal.SIGCONT)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"prompts": prompts, "new_tokens": new_tokens}) + "\n")
            self._process.stdin.flush()
        answer = self._read("RESULT")
        self._signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)
        self._process.communicate()

    def _read(self, what: str) -> dict[str, Any]:
        watch = threading.Timer(ANSWER_SECONDS, self._process.kill)
        watch.start()
        try:
            assert self._process.stdout is not None
            for line in self._process.stdout:
                if line.startswith(what + " "):
                    return json.loads(line.removeprefix(what))
        finally:
            watch.cancel()
        end = self._log.read_text(errors="replace").strip()[-2000:]
        raise Unavailable(f"{self.way.label} ended: {end}", "run its script by hand")

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def make_prompts(part: Sequence[Row], vocab: int, seed: int) -> list[list[list[int]]]:
    """The prompts of each row of a part: random, other ones in every round, the same for every engine."""
    noise = random.Random(f"{seed} {part[0].name}")

    def tokens(n: int) -> list[int]:
        return [noise.randrange(_LOWEST, vocab) for _ in range(n)]

    prefix = tokens(max(row.prefix for row in part))
    return [[prefix[: row.prefix] + tokens(row.prompt) for _ in range(row.requests)] for row in part]


@dataclass(slots=True)
class Measured:
    """CPU-seconds, seconds and tokens of an engine in a row, by round."""

    cpu: list[float] = field(default_factory=list[float])
    wall: list[float] = field(default_factory=list[float])
    tokens: list[list[list[int]]] = field(default_factory=list[list[list[int]]])


def bench_peers(
    report: Report, engines: Sequence[Sequence[Way]], setting: Setting, only: Sequence[str], rounds: int, tell: Tell
) -> None:
    """Measure all parts that have a row whose name contains one of `only` (none: all), and report."""
    parts = [p for p in PARTS if not only or any(name in row.name for row in p for name in only)]
    if not parts:
        raise Invalid(f"no row is named {' or '.join(only)}", "see the names in a report of all rows")
    workers: dict[Way, Worker] = {}
    with contextlib.ExitStack() as stack:
        # a stopped process does not end by itself
        stack.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, _end))
        for way in [way for ways in engines for way in ways]:
            try:
                worker = Worker(way, setting, setting.model / f"{way.engine}-{way.how}.log".replace(" ", "-"))
            except Unavailable as e:
                tell(f"{way.label} does not run: {e}")
                continue
            stack.callback(worker.close)
            workers[way] = worker
            report.conditions[way.label] = json.dumps(worker.options)
        for part in parts:
            chosen = _choose(part, engines, workers, setting, tell)
            results = _measure(part, chosen, setting, rounds, tell)
            for row, by_engine in zip(part, results, strict=True):
                _report(report, row, by_engine)


def _end(_number: int, _frame: object) -> None:
    sys.exit(1)


def _choose(
    part: Sequence[Row], engines: Sequence[Sequence[Way]], workers: dict[Way, Worker], setting: Setting, tell: Tell
) -> list[Worker]:
    """Each engine in the way that took fewest CPU-seconds in a round that does not count; those that fail are left."""
    chosen: list[Worker] = []
    for ways in engines:
        if ways[0].engine == WITHOUT and not any(name.startswith("torch/") for row in part for name in row.bounds):
            continue
        took: dict[Way, float] = {}
        for way in [way for way in ways if way in workers]:
            for seed in (-2, -1):  # the first one compiles and warms up
                try:
                    took[way] = sum(answer["cpu"] for answer in _run(part, workers[way], setting, seed))
                except Unavailable as e:
                    tell(f"{way.label} failed: {e}")
                    took.pop(way, None)
                    del workers[way]
                    break
        if took:
            best = min(took, key=lambda way: took[way])
            chosen.append(workers[best])
            tell(f"{part[0].name}: {', '.join(f'{way.label} {seconds:.2f} s' for way, seconds in took.items())}")
    return chosen


def _measure(
    part: Sequence[Row], chosen: list[Worker], setting: Setting, rounds: int, tell: Tell
) -> list[dict[str, Measured]]:
    results: list[dict[str, Measured]] = [{w.way.engine: Measured() for w in chosen} for _ in part]
    for number in range(rounds):
        turn = number % len(chosen)
        for worker in chosen[turn:] + chosen[:turn]:
            for by_engine, answer in zip(results, _run(part, worker, setting, number), strict=True):
                measured = by_engine[worker.way.engine]
                measured.cpu.append(answer["cpu"])
                measured.wall.append(answer["wall"])
                measured.tokens.append(answer["tokens"])
        tell(f"{part[0].name}: round {number + 1} of {rounds}, load {os.getloadavg()[0]:.1f}; {_medians(results)}")
    return results


def _medians(results: Sequence[dict[str, Measured]]) -> str:
    """So far, in CPU-seconds."""
    engines = results[0]
    return ", ".join(f"{name} {' '.join(f'{median(row[name].cpu):.3f}' for row in results)} s" for name in engines)


def _run(part: Sequence[Row], worker: Worker, setting: Setting, seed: int) -> list[dict[str, Any]]:
    prompts = make_prompts(part, setting.vocab, seed)
    return [worker.ask(each, row.new) for row, each in zip(part, prompts, strict=True)]


def _report(report: Report, row: Row, by_engine: dict[str, Measured]) -> None:
    total = row.requests * row.new
    for engine, measured in by_engine.items():
        report.add(f"{row.name}: {engine}", median(total / cpu for cpu in measured.cpu), "tok/CPU-s")
        report.add(f"{row.name}: {engine}, elapsed", median(total / wall for wall in measured.wall), "tok/s")
    ours = {name: measured for name, measured in by_engine.items() if name.startswith("symphony")}
    for engine in by_engine.keys() - ours.keys():
        for name, mine in ours.items():
            key = engine if name == "symphony native" else f"torch/{engine}"
            bound = EVERYWHERE.get(engine) if name == "symphony native" else None
            theirs = by_engine[engine]
            ratio = median(b / a for a, b in zip(mine.cpu, theirs.cpu, strict=True))
            report.add(f"{row.name}: {name} / {engine}", ratio, "", at_least=row.bounds.get(key, bound))
        report.add(f"{row.name}: tokens like {engine}'s", _alike(ours["symphony native"], by_engine[engine]), "")


def _alike(mine: Measured, theirs: Measured) -> float:
    """The share of tokens that are equal up to the first difference of each request."""
    same = total = 0
    for a, b in zip(mine.tokens, theirs.tokens, strict=True):
        for x, y in zip(a, b, strict=True):
            same += next((i for i, (p, q) in enumerate(zip(x, y, strict=True)) if p != q), len(x))
            total += len(x)
    return same / total


def write_model(shape: str, directory: Path) -> int:
    """A directory with random fp32 weights of one of `bench/model_shapes.py`; returns its vocabulary's size."""
    script = SCRIPTS / "model_shapes.py"
    made = subprocess.run([sys.executable, str(script), shape, str(directory)], capture_output=True, text=True)
    if made.returncode:
        raise Invalid(f"there is no shape {shape}: {made.stderr.strip()[-300:]}", "see bench/model_shapes.py")
    return int(json.loads((directory / "config.json").read_text())["vocab_size"])
