"""`wasi:cli`: arguments, environment, stdio, exit."""

from __future__ import annotations

from typing import Any

from symphony.syscall.values import Err, Exit, Ok
from symphony.syscall.wasi.io import InputStream, OutputStream
from symphony.syscall.wasi.registry import Registry

cli = Registry()


@cli.on("wasi:cli/environment#get-environment")
def environment(caller: Any) -> list[tuple[str, str]]:
    return caller.environment


@cli.on("wasi:cli/environment#get-arguments")
def arguments(caller: Any) -> list[str]:
    return ["lip"]  # what a program is asked to do comes as the argument of `run`


@cli.on("wasi:cli/environment#initial-cwd")
def initial_cwd(caller: Any) -> str | None:
    return None


@cli.on("wasi:cli/exit#exit")
def exit_with(caller: Any, status: Ok[None] | Err[None]) -> None:
    raise Exit(0 if isinstance(status, Ok) else 1)


@cli.on("wasi:cli/exit#exit-with-code")
def exit_with_code(caller: Any, code: int) -> None:
    raise Exit(code)


@cli.on("wasi:cli/stdin#get-stdin")
def stdin(caller: Any) -> InputStream:
    return InputStream()


@cli.on("wasi:cli/stdout#get-stdout")
def stdout(caller: Any) -> OutputStream:
    return OutputStream("stdout")


@cli.on("wasi:cli/stderr#get-stderr")
def stderr(caller: Any) -> OutputStream:
    return OutputStream("stderr")


@cli.on(
    "wasi:cli/terminal-stdin#get-terminal-stdin",
    "wasi:cli/terminal-stdout#get-terminal-stdout",
    "wasi:cli/terminal-stderr#get-terminal-stderr",
)
def terminal(caller: Any) -> None:
    return None
