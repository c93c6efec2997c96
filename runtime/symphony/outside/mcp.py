"""Tools of a server of the Model Context Protocol (modelcontextprotocol.io, versions 2024-11-05 to 2025-11-25).

    connect: initialize --> initialized --> tools/list, page by page          call: tools/call

A server that goes away is connected to again by the next call, at most every few seconds; what it offered when the host
started is what it offers. One that answers neither a call nor a ping is ended. The wire is `stdio` or `streamable`. Our
own client, not the official one, because a server may be hostile: what it sends is bounded in size, number and time,
and nothing of it but that ping runs in tasks that outlive a call.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from symphony.errors import Invalid, LimitExceeded, SymphonyError, TimedOut, Unavailable
from symphony.outside.config import McpConfig, check_mcp, revealed
from symphony.outside.resolver import Lookup
from symphony.outside.tool import Seats, encoded, shortened
from symphony.param import (
    MAX_TOOL_LISTED,
    MAX_TOOL_SCHEMA_CHARS,
    MCP_PING_SECONDS,
    MCP_RESTART_SECONDS,
    MCP_START_SECONDS,
)

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""The newest first: what we ask for."""


class Wire(Protocol):
    """How messages travel to one server and back."""

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """A request and its result. Raises Unavailable, Invalid, LimitExceeded, TimedOut."""
        ...

    async def tell(self, method: str, params: Mapping[str, Any]) -> None: ...
    def agreed(self, version: str) -> None:
        """The version that both speak from now on."""
        ...

    async def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...


class Server:
    """One server, and the connection to it while there is one."""

    def __init__(self, name: str, config: McpConfig) -> None:
        """Raises Invalid: which field is wrong."""
        check_mcp(name, config)
        self.name = name
        self.seconds = config.seconds
        self.tools: list[McpTool] = []
        self._open = _opener(name, config)
        self._wire: Wire | None = None
        self._closing: set[asyncio.Task[None]] = set()
        """Wires on their way out."""
        self._doubting: asyncio.Task[None] | None = None
        """Of the wire as it is: whether anybody reads at its other end."""
        self._connecting = asyncio.Lock()
        self._seats = Seats(f"the MCP server {name!r}")
        self._tried = -MCP_RESTART_SECONDS

    async def start(self) -> None:
        """Connect, and learn what it offers. Raises Unavailable or TimedOut: the operator should know now."""
        wire = await self._connected()
        async with _within(f"the MCP server {self.name!r}", MCP_START_SECONDS):
            self.tools = await self._listed(wire)

    async def call(self, tool: str, arguments: Mapping[str, Any], tenant: str = "") -> dict[str, Any]:
        with self._seats.taken(tenant):
            try:
                async with _within(f"tool {self.name}_{tool}", self.seconds):
                    return await self._called(tool, arguments)
            except TimedOut:
                self._doubt()
                raise

    async def _called(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        wire = await self._connected()
        return await wire.ask("tools/call", {"name": tool, "arguments": arguments})

    def _doubt(self) -> None:
        """A call took too long: see whether the server is still there."""
        if self._doubting is None and self._wire is not None and not self._wire.closed:
            self._doubting = asyncio.create_task(self._answers(self._wire))

    async def _answers(self, wire: Wire) -> None:
        """A server that does not even answer a ping is ended; the next call connects to a new one."""
        try:
            async with asyncio.timeout(MCP_PING_SECONDS):
                await wire.ask("ping", {})
        except (TimeoutError, TimedOut):  # ours, or the wire's own
            if self._wire is wire:
                self._wire = None
            await self._end(wire)
        except SymphonyError:
            pass  # that was an answer, or it has ended
        finally:
            self._doubting = None

    async def close(self) -> None:
        if self._doubting is not None:
            self._doubting.cancel()
        await self._leave()

    async def _leave(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            await self._end(wire)
        await asyncio.gather(*self._closing)

    async def _end(self, wire: Wire) -> None:
        """Close it, also if who waits for that is cancelled: a server must not outlive the wire to it."""
        closing = asyncio.create_task(wire.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        await asyncio.shield(closing)

    async def _connected(self) -> Wire:
        if self._wire is not None and not self._wire.closed:
            return self._wire
        async with self._connecting:
            if self._wire is not None and not self._wire.closed:
                return self._wire
            await self._leave()
            wait = self._tried + MCP_RESTART_SECONDS - time.monotonic()
            if wait > 0:
                raise Unavailable(f"the MCP server {self.name!r} went away", f"it is tried again in {wait:.1f} s")
            self._tried = time.monotonic()
            self._wire = await self._connect()
            return self._wire

    async def _connect(self) -> Wire:
        async with _within(f"the MCP server {self.name!r}", MCP_START_SECONDS):
            wire = await self._open()
            try:
                hello = {
                    "protocolVersion": VERSIONS[0],
                    "capabilities": {},
                    "clientInfo": {"name": "symphony", "version": "0"},
                }
                version = (await wire.ask("initialize", hello)).get("protocolVersion")
                if version not in VERSIONS:
                    known = ", ".join(VERSIONS)
                    raise Unavailable(f"the MCP server {self.name!r} speaks version {str(version)[:50]!r}, not {known}")
                wire.agreed(version)
                await wire.tell("notifications/initialized", {})
            except BaseException:
                await self._end(wire)
                raise
        return wire

    async def _listed(self, wire: Wire) -> list[McpTool]:
        tools: list[McpTool] = []
        cursor: dict[str, str] = {}
        while True:
            page = await wire.ask("tools/list", cursor)
            listed = page.get("tools")
            for raw in listed if isinstance(listed, list) else []:
                if len(tools) == MAX_TOOL_LISTED:
                    raise Unavailable(f"the MCP server {self.name!r} offers more than {MAX_TOOL_LISTED} tools")
                tools.append(McpTool(self, raw))
            following = page.get("nextCursor")
            if not isinstance(following, str) or not listed:
                return tools
            cursor = {"cursor": following}


class McpTool:
    """One tool of a server."""

    def __init__(self, server: Server, raw: Any) -> None:
        """`raw`: as the server describes it. Raises Unavailable if that is no description."""
        named = raw if isinstance(raw, dict) else {}
        self._server = server
        name, schema, summary = named.get("name"), named.get("inputSchema", {}), named.get("description") or ""
        if not isinstance(name, str) or not isinstance(schema, dict) or not isinstance(summary, str):
            raise Unavailable(f"the MCP server {server.name!r} offers a tool that is described wrongly")
        self._tool = name
        self.schema: Mapping[str, Any] = schema
        self.summary = summary
        if len(self._tool) + len(self.summary) + len(json.dumps(self.schema)) > MAX_TOOL_SCHEMA_CHARS:
            raise Unavailable(
                f"the MCP server {server.name!r} needs more than {MAX_TOOL_SCHEMA_CHARS} characters for one tool"
            )
        self.name = f"{server.name}_{self._tool}"

    async def call(self, arguments: Mapping[str, Any], tenant: str = "") -> str:
        try:
            result = await self._server.call(self._tool, arguments, tenant)
        except Invalid as e:
            raise Invalid(f"tool {self.name!r}: {e.message}", f"its arguments: {json.dumps(self.schema)}") from e
        except (Unavailable, LimitExceeded) as e:
            raise Unavailable(f"tool {self.name!r} failed: {e.message}", e.hint) from e
        value = _value(result)
        if result.get("isError"):
            raise Unavailable(shortened(f"tool {self.name!r} failed: {value}"))
        return encoded(self.name, value)


def _value(result: Mapping[str, Any]) -> Any:
    """The structured content if there is one; else a text if that is all; else the pieces as they came."""
    if "structuredContent" in result:
        return result["structuredContent"]
    content = result.get("content")
    if isinstance(content, list) and len(content) == 1:
        only = content[0]
        if isinstance(only, dict) and only.get("type") == "text" and isinstance(only.get("text"), str):
            return only["text"]
    return content


def _opener(name: str, config: McpConfig) -> Callable[[], Any]:
    if config.command:
        from symphony.outside.stdio import StdioWire

        env = revealed(f"mcp.{name}.env", config.env)
        return lambda: StdioWire.open(name, config.command, env)
    from symphony.outside.streamable import HttpWire

    headers, lookup = revealed(f"mcp.{name}.headers", config.headers), Lookup()
    longest = max(config.seconds, MCP_START_SECONDS, MCP_PING_SECONDS)
    return lambda: HttpWire.open(name, config.url, list(headers.items()), longest, lookup)


@asynccontextmanager
async def _within(who: str, seconds: float) -> AsyncGenerator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as e:
        raise TimedOut(f"{who} took longer than {seconds:g} s") from e
    except OSError as e:
        raise Unavailable(f"{who} cannot be reached: {e}") from e


@asynccontextmanager
async def opened(configs: Mapping[str, McpConfig]) -> AsyncGenerator[list[McpTool]]:
    """The tools of all servers, which are closed at the end of the block. Raises what the first that fails raises."""
    servers = [Server(name, config) for name, config in configs.items()]
    try:
        for server in servers:
            try:
                await server.start()
            except SymphonyError as e:
                raise type(e)(f"mcp.{server.name}: {e.message}", e.hint or "check the command or the url") from e
        yield [tool for server in servers for tool in server.tools]
    finally:
        for server in servers:
            await server.close()
