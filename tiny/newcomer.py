"""`python -m tiny.newcomer`: the prompts of `newcomer.toml` with a model's answers, as the page `docs/tiny-prompts.md`.

What is acceptable was written down before: an expression that an answer must hold, and perhaps one that it must not.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from symphony.engine.local import LocalEngine
from tiny.evaluate import answer_page
from tiny.turns import Turns

PROMPTS = Path(__file__).with_name("newcomer.toml")
PAGE = Path(__file__).parents[1] / "docs" / "tiny-prompts.md"
PROMISED = 28


@dataclass(slots=True, frozen=True)
class Prompt:
    """A prompt, and what is an acceptable answer to it."""

    turns: Turns
    accepts: str
    refuses: str | None

    def acceptable(self, answer: str) -> bool:
        if self.refuses is not None and re.search(self.refuses, answer, re.IGNORECASE):
            return False
        return re.search(self.accepts, answer, re.IGNORECASE) is not None


def load(path: Path = PROMPTS) -> list[Prompt]:
    """In the order of the file."""
    prompts: list[Prompt] = []
    for entry in tomllib.loads(path.read_text())["prompt"]:
        before = [("assistant" if i % 2 else "user", text) for i, text in enumerate(entry.get("before", []))]
        system = [("system", entry["system"])] if "system" in entry else []
        turns: Turns = [*system, *before, ("user", entry["user"])]
        prompts.append(Prompt(turns, entry["accepts"], entry.get("refuses")))
    return prompts


def page(model: str, prompts: list[Prompt], answers: list[str]) -> str:
    """Markdown: what was typed, what came, whether that is acceptable."""
    verdicts = [prompt.acceptable(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    lines = [
        f"# Forty prompts for `{model}`",
        "",
        "What a newcomer may type, written by hand before any answer was seen, with what would be acceptable "
        "(`tiny/newcomer.toml`);",
        f"greedy answers, failures included. Made by `python -m tiny.newcomer {model}`.",
        "",
        f"**{sum(verdicts)} of {len(prompts)} are acceptable**; {PROMISED} are promised of the model that is trained "
        "on today's corpus.",
        "",
        "| | typed | answer |",
        "|---|---|---|",
    ]
    for prompt, answer, good in zip(prompts, answers, verdicts, strict=True):
        typed = prompt.turns[-1][1]
        note = (
            " *(with a tool)*"
            if prompt.turns[0][0] == "system"
            else " *(second turn)*"
            if len(prompt.turns) > 1
            else ""
        )
        lines.append(f"| {'yes' if good else '**no**'} | {_cell(typed)}{note} | {_cell(answer)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("&", "&amp;").replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>") or "*(nothing)*"


def main(model: str = "tiny") -> None:
    engine = LocalEngine.load(model, device="cpu", threads=1)
    prompts = load()
    answers = asyncio.run(answer_page(engine, [prompt.turns for prompt in prompts]))
    engine.close()
    PAGE.write_text(page(model, prompts, answers))


if __name__ == "__main__":
    main(*sys.argv[1:2])
