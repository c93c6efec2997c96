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
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from symphony.bench.child import Child, ending_on_sigterm
from symphony.bench.report import Report
from symphony.errors import Invalid, NotFound, Unavailable

SCRIPTS = Path(__file__).resolve().parents[3] / "bench"
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


class Worker(Child):
    """An engine's process."""

    def __init__(self, way: Way, setting: Setting, log: Path) -> None:
        """Starts it; raises Unavailable if it does not come up."""
        self.way = way
        s = setting
        command = [way.python, str(SCRIPTS / "peers" / way.script), str(s.model), s.dtype, str(s.threads), way.how]
        super().__init__(way.label, command, s.threads, log)

    def ask(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> dict[str, Any]:
        """Tokens, CPU-seconds and seconds. Raises Unavailable if it died."""
        return self.request({"prompts": prompts, "new_tokens": new_tokens})


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
        stack.enter_context(ending_on_sigterm())
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


def bench_transformers(
    report: Report, python: str, model: Path, device: str, attention: str, size: tuple[int, int, int], rounds: int = 1
) -> None:
    """transformers' continuous batching on a device, in a process of its own. `size`: requests, tokens in, tokens
    out. Raises Unavailable if it does not run."""
    script = SCRIPTS / "peers" / "transformers_batch.py"
    command = [python, str(script), str(model), device, attention, *map(str, (*size, rounds))]
    ran = subprocess.run(command, capture_output=True, text=True)
    found = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise Unavailable(f"transformers did not run: {ran.stderr.strip()[-1000:]}", "run its script by hand")
    answer: dict[str, Any] = json.loads(found[0].removeprefix("RESULT "))
    report.conditions["transformers"] = json.dumps(answer["with"])
    rows, given, new = size
    name = f"transformers {answer['with']['transformers']}, {attention}, {rows} requests, {given} in, {new} out"
    report.add(name, median(answer["rates"]), "tok/s")


def write_model(shape: str, directory: Path) -> int:
    """A directory with random fp32 weights of one of `bench/model_shapes.py`; returns its vocabulary's size."""
    script = SCRIPTS / "model_shapes.py"
    made = subprocess.run([sys.executable, str(script), shape, str(directory)], capture_output=True, text=True)
    if made.returncode:
        raise Invalid(f"there is no shape {shape}: {made.stderr.strip()[-300:]}", "see bench/model_shapes.py")
    return int(json.loads((directory / "config.json").read_text())["vocab_size"])
