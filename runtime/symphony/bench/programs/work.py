"""The applications of `symphony bench programs` and what each is given: the same for a program and for clients.

Prompts are made-up prose of a seed, new ones in every round. How many tokens are written is fixed, except in the two
applications that are a single question. Knows nothing of models and of where the applications run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

TOOL_SECONDS = 0.1
"""What the agents' tool takes."""
DOCUMENTS, ZIPF = 100, 1.0
"""Of the library; the k-th most popular one is asked about 1/k as often as the first."""
TOGETHER = 3
"""Documents that a question of the shelf is about."""
WARM_JOBS = 2
"""In the round that does not count: it compiles and warms up."""
_WORDS = """
the a little old brown green red happy tired fox dog bird girl boy king baker pilot lamp clock garden river house
museum bridge morning winter found saw made took wanted lost opened painted walked to into under behind with and then
because very quickly again never always
""".split()  # noqa: SIM905
_NAMES = ("Nora", "Ben", "Ada", "Omar", "Finn", "Lena", "Ivo", "Maya")
_SURNAMES = ("brandt", "okafor", "reed", "park", "lind", "moss")
_CITIES = ("Lisbon", "Oslo", "Lima", "Kyoto", "Cairo", "Turin")
PERSON: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "city": {"type": "string", "maxLength": 40},
    },
    "required": ["name", "age", "city"],
    "additionalProperties": False,
}

Job = dict[str, Any]
"""The arguments of one run."""


@dataclass(frozen=True, slots=True)
class Application:
    """One row of the benchmark."""

    name: str
    """Of the LIP's file and of the client's function."""
    title: str
    make: Callable[[random.Random, int], list[Job]]
    """So many jobs."""
    jobs: int
    at_once: int
    chained: bool
    """The model's answer builds on earlier calls, or on several files; else it is a single call."""
    drawn: bool = False
    """Tokens are drawn, so that a library without our noise writes other ones."""
    read: Callable[[], list[Job]] | None = None
    """Jobs that read what all rounds are about, in every way."""


def make_jobs(application: Application, seed: int, jobs: int | None = None) -> list[Job]:
    """The same ones for the same seed."""
    return application.make(random.Random(f"{application.name} {seed}"), jobs or application.jobs)


def warm_jobs(application: Application) -> list[Job]:
    """Those of the round that does not count."""
    return make_jobs(application, -1, WARM_JOBS) + (application.read() if application.read is not None else [])


def prose(noise: random.Random, words: int) -> str:
    """Sentences, with a space after each."""
    text: list[str] = []
    while len(text) < words:
        sentence = noise.choices(_WORDS, k=noise.randint(5, 11))
        text += [sentence[0].capitalize(), *sentence[1:-1], f"{sentence[-1]}."]
    return " ".join(text)


async def look_up(step: int) -> str:
    """The agents' tool."""
    await asyncio.sleep(TOOL_SECONDS)
    return f"\nObservation {step}: the {_WORDS[5 + step % 8]} fox is in the {_WORDS[16 + step % 5]}.\nThought:"


def _agent(noise: random.Random, jobs: int) -> list[Job]:
    system = f"{prose(noise, 300)}\n"
    return [
        {"system": system, "question": f"Question: {prose(noise, 25)}\nThought:", "calls": 8, "tokens": 16}
        for _ in range(jobs)
    ]


def _tree(noise: random.Random, jobs: int) -> list[Job]:
    size = {"ask": "\nGood or bad?", "width": 3, "keep": 2, "depth": 3, "tokens": 16}
    return [{"problem": f"{prose(noise, 200)}\n", "seed": noise.getrandbits(32), **size} for _ in range(jobs)]


def _best_of(noise: random.Random, jobs: int) -> list[Job]:
    return [
        {"prompt": f"{prose(noise, 150)}\n", "n": 8, "tokens": 32, "seed": noise.getrandbits(32)} for _ in range(jobs)
    ]


def _prefix_tree(noise: random.Random, jobs: int) -> list[Job]:
    return [
        {
            "root": f"{prose(noise, 250)}\n",
            "branches": [f"{prose(noise, 60)}\n" for _ in range(8)],
            "leaves": [[f"{prose(noise, 15)}\n" for _ in range(8)] for _ in range(8)],
            "tokens": 8,
        }
        for _ in range(jobs)
    ]


@cache
def _library() -> list[tuple[str, str]]:
    """Paths and texts of the documents, the same ones in all rounds."""
    noise = random.Random("library")
    return [(f"/library/{i}", f"{prose(noise, 200)}\n") for i in range(DOCUMENTS)]


def _popular(noise: random.Random) -> tuple[str, str]:
    return noise.choices(_library(), [1 / (rank + 1) ** ZIPF for rank in range(DOCUMENTS)])[0]


def _rag(noise: random.Random, jobs: int) -> list[Job]:
    found = (_popular(noise) for _ in range(jobs))
    return [{"path": path, "document": text, "question": f"{prose(noise, 15)}\n", "tokens": 16} for path, text in found]


def _read_library() -> list[Job]:
    return [{"path": path, "document": text, "question": "What?\n", "tokens": 1} for path, text in _library()]


def _shelf(noise: random.Random, jobs: int) -> list[Job]:
    def found() -> dict[str, str]:
        documents: dict[str, str] = {}
        while len(documents) < TOGETHER:
            documents |= [_popular(noise)]
        return documents

    return [{"documents": found(), "question": f"{prose(noise, 15)}\n", "tokens": 16} for _ in range(jobs)]


def _read_shelf() -> list[Job]:
    return [{"documents": {path: text}, "question": "What?\n", "tokens": 1} for path, text in _library()]


def _skeleton(noise: random.Random, jobs: int) -> list[Job]:
    points = [f"\nMore about point {i + 1}:" for i in range(6)]
    return [{"question": f"{prose(noise, 120)}\n", "points": points, "outline": 48, "tokens": 32} for _ in range(jobs)]


def _extract(noise: random.Random, jobs: int) -> list[Job]:
    return [
        {
            "text": f"Extract name, age, city as JSON.\n{noise.choice(_NAMES)} is {noise.randint(20, 79)} years old "
            f"and lives in {noise.choice(_CITIES)}. {prose(noise, 30)}",
            "schema": PERSON,
            "tokens": 64,
        }
        for _ in range(jobs)
    ]


def _lookup(noise: random.Random, jobs: int) -> list[Job]:
    def text() -> str:
        people = zip(noise.sample(_NAMES, 4), noise.sample(_SURNAMES, 4), strict=True)
        mails = (f"{name.lower()}.{surname}@example.{noise.choice(('com', 'org', 'net'))}" for name, surname in people)
        said = " ".join(f"Write to {mail}. We went to {noise.choice(_CITIES)}." for mail in mails)
        return f"List all emails in the text.\n{said}"

    return [{"text": text(), "tokens": 96} for _ in range(jobs)]


APPLICATIONS = (
    Application("agent", "agent, 8 tool calls", _agent, 16, 16, chained=True),
    Application("tree", "tree of thought", _tree, 8, 8, chained=True, drawn=True),
    Application("best_of", "best of 8", _best_of, 8, 8, chained=False, drawn=True),
    Application("prefix_tree", "prefix tree, 8 x 8 prompts", _prefix_tree, 2, 1, chained=True),
    Application(
        "rag", f"questions about one of {DOCUMENTS} documents", _rag, 64, 16, chained=False, read=_read_library
    ),
    Application(
        "shelf", f"questions about {TOGETHER} of {DOCUMENTS} documents", _shelf, 64, 16, chained=True, read=_read_shelf
    ),
    Application("skeleton", "skeleton of thought", _skeleton, 16, 8, chained=True),
    Application("extract", "JSON extraction", _extract, 32, 16, chained=False),
    Application("lookup", "n-gram speculation", _lookup, 16, 16, chained=False),
)
