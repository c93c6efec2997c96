"""Tries a grammar in a process of its own, which may die of it.

A few kilobytes of grammar can take minutes, all memory, or the whole stack, and llguidance cannot be stopped. So every
grammar is first compiled where that harms nobody: within so much CPU time, so much memory, and a small stack. What
survives is compiled again beside the engine. The process stays for the next grammar, and is started anew after a death.

Blocks; belongs to one thread. `python -m symphony.constraint.checker` is the process itself.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from symphony.constraint.grammar import Grammar
from symphony.constraint.translation import limits, translate
from symphony.errors import LimitExceeded, SymphonyError, Unavailable
from symphony.param import CHECKER_CPU_SECONDS, CHECKER_MEMORY_BYTES, CHECKER_STACK_BYTES

_DEATHS = {
    signal.SIGPROF: f"takes longer than {CHECKER_CPU_SECONDS:g} s to compile",
    signal.SIGSEGV: "nests too deeply",
    signal.SIGABRT: f"needs more than {CHECKER_MEMORY_BYTES >> 20} MiB to compile",
}


class Checker:
    """The host's end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._lock = threading.Lock()
        """Guards the two."""
        self._use = threading.Lock()
        """Held while a grammar is being tried."""

    def check(self, grammar: Grammar, special: Sequence[str]) -> None:
        """Returns if the grammar can be compiled, or is wrong in a way that compiling tells. `special`: names of
        special tokens that it may use. Raises LimitExceeded if it cannot, Unavailable if nothing can be tried."""
        with self._use:
            self._check(grammar, special)

    def _check(self, grammar: Grammar, special: Sequence[str]) -> None:
        request = [grammar.kind, grammar.source, grammar.spacing, list(special)]
        for _ in range(2):  # one that somebody killed meanwhile is no verdict
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(request).encode() + b"\n")
                process.stdin.flush()
                if process.stdout.readline():
                    return
            except BrokenPipeError:
                pass
            death = -process.wait()
            self._drop()
            if death in _DEATHS:
                raise LimitExceeded(f"the {grammar.noun} {_DEATHS[signal.Signals(death)]}", "simplify it, or split it")
        raise Unavailable("the process that tries grammars does not answer", "try again")

    def close(self) -> None:
        """From any thread; a check that is under way fails."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()
        with self._use:
            self._drop()

    def _started(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise Unavailable("the host is shutting down")
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", __name__],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    bufsize=0,  # nothing is left to be written into a closed pipe
                    env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
                    cwd="/",
                )
            return self._process

    def _drop(self) -> None:
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


# ---- in the process ------------------------------------------------------------------------------------------------


class _Bytes(TokenizerWrapper):
    """The smallest vocabulary that can write everything."""

    is_tokenizer_wrapper = True
    bos_token_id = None
    eos_token_id = 256

    def __init__(self, special: Sequence[str]) -> None:  # not the parent's, which wants a tokenizer
        names = ["<|end|>", *special]
        self.tokens = [bytes([byte]) for byte in range(256)] + [name.encode() for name in names]
        self.special_token_ids = list(range(256, len(self.tokens)))

    def __call__(self, text: str | bytes) -> list[int]:
        return list(text if isinstance(text, bytes) else text.encode())


def _try(line: bytes) -> None:
    """Compile, look for the first mask, fork: what a matcher does."""
    kind, source, spacing, special = json.loads(line)
    try:
        compiled = translate(Grammar(kind, source, spacing))
    except SymphonyError:
        return
    matcher = LLMatcher(LLTokenizer(_Bytes(special)), compiled, log_level=0, limits=limits())
    if not matcher.is_error():
        matcher.compute_bitmask()
        matcher.compute_ff_tokens()
        matcher.deep_copy()


def _serve() -> None:
    for line in sys.stdin.buffer:
        signal.setitimer(signal.ITIMER_PROF, CHECKER_CPU_SECONDS)  # of CPU; its signal ends the process
        thread = threading.Thread(target=_try, args=(line,))
        thread.start()
        thread.join()
        signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def _main() -> None:
    threading.excepthook = lambda _: os.abort()  # a MemoryError, as a rule
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (CHECKER_MEMORY_BYTES, CHECKER_MEMORY_BYTES))
    threading.stack_size(CHECKER_STACK_BYTES)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted host closes its pipe
    _serve()


if __name__ == "__main__":
    _main()
