"""What programs reach beyond the host: tools, and places that they may fetch from. Nothing without a grant.

    grants      who may call which tool, and fetch from where: the only thing that `process` sees
    functions   tools that are Python functions       endpoints   tools that are URLs of the operator
    mcp         tools of MCP servers, over a pipe (`stdio`) or HTTP (`streamable`)
    fetch       requests of programs: places, addresses, redirects
    web         one exchange over HTTP, bounded in size and time: all of the above that is HTTP goes through it

Knows nothing of Wasm, processes or models. `web` and what needs it (aiohttp) are imported when they are used first.
"""
