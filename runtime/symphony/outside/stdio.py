"""A wire to an MCP server that the host starts: a message a line on its standard input and output.

The server has a process group of its own, an environment of its own, and is gone with its group when the wire closes.
Its standard error is the host's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from symphony.errors import SymphonyError, Unavailable
from symphony.outside.jsonrpc import Peer
from symphony.param import MAX_TOOL_RESULT_BYTES

_INHERITED = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT")
_GRACE_SECONDS = 2.0
"""From the end of its input to the end of the server."""
_LINES = 64
_PAUSE_SECONDS = 0.005
"""After so many lines, so long: 12,800 a second at most, about a tenth of a core."""


class StdioWire:
    """`mcp.Wire` over pipes."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._peer = Peer(name)
        self._sending = asyncio.Lock()
        self._reader = asyncio.ensure_future(self._read())
        self.closed = False

    @classmethod
    async def open(cls, name: str, command: Sequence[str], env: Mapping[str, str]) -> StdioWire:
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**inherited, **env},
                limit=MAX_TOOL_RESULT_BYTES,
                start_new_session=True,
            )
        except OSError as e:
            raise Unavailable(f"the MCP server {name!r} does not start: {command[0]!r}: {e.strerror}") from None
        return cls(name, process)

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        number, text, answer = self._peer.request(method, params)
        try:
            await self._send(text)
            return await answer
        except asyncio.CancelledError:
            with contextlib.suppress(SymphonyError):
                if not self._process.stdin.transport.get_write_buffer_size():  # type: ignore[union-attr]
                    self._write(self._peer.notification("notifications/cancelled", {"requestId": number}))
            raise
        finally:
            self._peer.forget(number)

    async def tell(self, method: str, params: Mapping[str, Any]) -> None:
        await self._send(self._peer.notification(method, params))

    def agreed(self, version: str) -> None:
        pass

    async def close(self) -> None:
        """Its input ends; if that does not end it, it is killed, with all that it started."""
        self._end(Unavailable(f"the MCP server {self._name!r} was closed"))
        await asyncio.wait([self._reader], timeout=_GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        done, _ = await asyncio.wait([self._reader], timeout=_GRACE_SECONDS)
        if not done:  # somebody who left its group still holds the pipe
            self._reader.cancel()
        await self._process.wait()

    async def _send(self, text: str) -> None:
        """One at a time: a server that does not read holds up those who call it, until their time is over. Nothing is
        written behind what it has not read: what waits is at most one message."""
        async with self._sending:
            stdin = self._process.stdin
            assert stdin is not None
            try:
                await stdin.drain()
                self._write(text)
                await stdin.drain()
            except ConnectionError as e:
                raise self._gone() from e

    def _write(self, text: str) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        if self.closed or stdin.is_closing():
            raise self._gone()
        stdin.write(text.encode() + b"\n")

    async def _read(self) -> None:
        """Until there is no more. What comes once it has failed is only thrown away, so that it can end."""
        stdout = self._process.stdout
        assert stdout is not None
        error: SymphonyError = self._gone()
        lines = 0
        try:
            while line := await stdout.readline():
                if line.strip() and (back := self._peer.take(line)) is not None:
                    await self._send(back)
                lines += 1  # a server that floods us gets so much of the host's time, and no more
                await asyncio.sleep(0 if lines % _LINES else _PAUSE_SECONDS)
        except ValueError:
            error = Unavailable(f"the MCP server {self._name!r} wrote a line of over {MAX_TOOL_RESULT_BYTES} bytes")
        except SymphonyError as e:
            error = e
        self._end(error)
        while await stdout.read(1 << 16):
            pass

    def _end(self, error: SymphonyError) -> None:
        self.closed = True
        self._peer.fail(error)
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()

    def _gone(self) -> Unavailable:
        return Unavailable(f"the MCP server {self._name!r} has ended", "see what it wrote, and what its command is")
