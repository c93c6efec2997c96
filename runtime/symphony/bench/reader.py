"""Clients of a server in a process of their own, so that only the server's CPU time is measured: `python -m` this.

Takes lines like `{"port": 1, "path": "/v1/...", "accept": "...", "bodies": [...]}`, posts all bodies at once, each on a
connection of its own, reads the answers to their ends, and says how they ended (`child.Child` is the other end).
Reads bytes; knows neither events nor tokens.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any


async def post(port: int, path: str, accept: str, body: str) -> str:
    """The whole response: head and body as they came, chunk marks of HTTP/1.1 included."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n"
    kind = f"Content-Type: application/json\r\nContent-Length: {len(body.encode())}\r\n\r\n"
    writer.write((head + kind + body).encode())
    answer = await reader.read(-1)
    writer.close()
    return answer.decode(errors="replace")


async def post_all(asked: dict[str, Any]) -> dict[str, Any]:
    """Statuses, the end of each answer, and how many lines of `data:` all of them had."""
    answers = await asyncio.gather(
        *(post(asked["port"], asked["path"], asked["accept"], json.dumps(body)) for body in asked["bodies"])
    )
    statuses = [answer.split(" ", 2)[1] for answer in answers]
    events = sum(answer.count("\ndata: ") for answer in answers)
    return {"statuses": statuses, "ends": [answer[-400:] for answer in answers], "events": events}


def main() -> None:
    print("READY {}", flush=True)
    for line in sys.stdin:
        print("RESULT", json.dumps(asyncio.run(post_all(json.loads(line)))), flush=True)


if __name__ == "__main__":
    main()
