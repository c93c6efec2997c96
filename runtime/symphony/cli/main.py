"""The command `symphony`: the table of its commands. Imports none of them, so the help costs nothing."""

from __future__ import annotations

import click

from symphony.cli.lazy import Lazy, LazyGroup

COMMANDS = {
    "run": Lazy("symphony.cli.run:run", "Run a program and stream its output."),
    "serve": Lazy("symphony.cli.serve:serve", "Serve programs over HTTP."),
    "new": Lazy("symphony.cli.new:new", "Begin a program: an agent with a tool and a test."),
    "build": Lazy("symphony.cli.build:build", "Build a program into a .wasm component."),
    "programs": Lazy("symphony.cli.programs:programs", "List, add, remove, inspect a server's programs."),
    "ps": Lazy("symphony.cli.processes:ps", "List a server's processes."),
    "top": Lazy("symphony.cli.top:top", "Watch a server: its processes, pages and tokens a second."),
    "fs": Lazy("symphony.cli.fs:fs", "List, read, copy, move, remove, pin a server's KV files."),
    "kill": Lazy("symphony.cli.processes:kill", "End a process."),
    "trace": Lazy("symphony.cli.processes:trace", "Save the timeline of a process for a trace viewer."),
    "logs": Lazy("symphony.cli.processes:logs", "Print a process' output and log."),
    "models": Lazy("symphony.cli.models:models", "List and inspect models."),
    "keys": Lazy("symphony.cli.keys:keys", "Make, list and remove the keys that clients of a server need."),
    "doctor": Lazy("symphony.cli.doctor:doctor", "Check this machine, and name the fixes."),
    "bench": Lazy("symphony.cli.bench:bench", "Measure the host and the engine."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="symphony-lip", prog_name="symphony")
def cli() -> None:
    """Symphony serves programs instead of prompts: LLM inference programs run sandboxed next to the model.

    \b
    symphony run completion prompt="Hello"      a sample
    symphony new my-agent                       a program to begin with
    symphony run my.py question="Why?" n=3      your own
    symphony serve                              the same over HTTP
    """


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="symphony")


if __name__ == "__main__":
    main()
