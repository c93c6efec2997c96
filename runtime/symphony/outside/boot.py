"""From what an operator says to what is granted: connects to servers, and closes the connections at the end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module

from symphony.errors import Invalid
from symphony.outside.config import OutsideConfig
from symphony.outside.fetch import Internet
from symphony.outside.grants import Grant, Grants
from symphony.outside.tool import Tool

_EVERYTHING = (Grant(tools=("*",)),)


@asynccontextmanager
async def granted(config: OutsideConfig, functions: Mapping[str, Tool]) -> AsyncGenerator[Grants]:
    """The grants over these functions and the configured tools, whose servers run as long as the block does.

    Raises Invalid (a field, or a name twice), Unavailable and TimedOut (a server).
    """
    tools = dict(functions)
    if any(grant.fetch for grant in config.grants):
        import_module("symphony.outside.web")  # now, and not when a program waits for it: 0.3 s
    async with AsyncExitStack() as servers:
        for tool in await _configured(config, servers):
            if tool.name in tools:
                raise Invalid(f"there are two tools called {tool.name!r}", "give one of them another name")
            tools[tool.name] = tool
        yield Grants(config.grants or _EVERYTHING, tools, Internet())


async def _configured(config: OutsideConfig, servers: AsyncExitStack) -> list[Tool]:
    """Imports HTTP and MCP only for those who use them."""
    tools: list[Tool] = []
    if config.endpoints:
        from symphony.outside.endpoints import EndpointTool

        tools += [EndpointTool(name, endpoint) for name, endpoint in config.endpoints.items()]
    if config.mcp:
        from symphony.outside.mcp import opened

        tools += await servers.enter_async_context(opened(config.mcp))
    return tools
