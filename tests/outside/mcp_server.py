"""A server of the Model Context Protocol over standard input and output, with every manner of behaviour: `mode` says
which. Independent of the client: it knows the protocol's texts, nothing of Symphony."""

import json
import os
import subprocess
import sys
import time
from typing import Any

ADD = {
    "name": "add",
    "description": "The sum.",
    "inputSchema": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
}
NAMES = ["add", "fail", "wrong", "many", "structured", "env", "slow", "die", "flood", "junk", "large", "ping", "nested"]


def send(**message: Any) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(value: object) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": str(value)}]}


def call(number: object, name: str, given: dict[str, Any]) -> None:
    match name:
        case "add":
            send(id=number, result=text(given["a"] + given["b"]))
        case "fail":
            send(id=number, result={**text("it rains"), "isError": True})
        case "wrong":
            send(id=number, error={"code": -32602, "message": "b is missing"})
        case "many":
            send(id=number, result={"content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]})
        case "structured":
            send(id=number, result={**text("{}"), "structuredContent": {"sum": 3}})
        case "env":
            send(id=number, result=text(sorted(os.environ)))
        case "slow":
            time.sleep(60)
        case "die":
            sys.exit(3)
        case "flood":
            for _ in range(5_000):
                send(method="notifications/message", params={"level": "info", "data": "x" * 100})
            send(id=999_999, result={})
            send(id=number, result=text("after the flood"))
        case "junk":
            print("this is no JSON", flush=True)
        case "large":
            sys.stdout.write("x" * (5 << 20) + "\n")
            sys.stdout.flush()
        case "nested":
            sys.stdout.write(f'{{"jsonrpc": "2.0", "id": {number}, "result": {{"content": ' + "[" * 100_000 + "\n")
            sys.stdout.flush()
        case "ping":
            send(id="p", method="ping")
            send(id="s", method="sampling/createMessage", params={})
            answers = {answer["id"]: answer for answer in (json.loads(sys.stdin.readline()) for _ in range(2))}
            send(id=number, result=text([answers["p"]["result"], answers["s"]["error"]["code"]]))


def main(mode: str) -> None:
    if mode == "leaves a child":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    tools = [{**ADD, "name": name} for name in NAMES]
    for line in sys.stdin:
        message = json.loads(line)
        number, params = message.get("id"), message.get("params", {})
        match message["method"]:
            case "initialize" if mode == "mute":
                time.sleep(60)
            case "initialize":
                assert params["protocolVersion"] == "2025-11-25"
                version = "1999-01-01" if mode == "old" else "2025-06-18"
                send(id=number, result={"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {}})
            case "tools/list" if mode == "endless":
                send(id=number, result={"tools": tools, "nextCursor": "more"})
            case "tools/list" if mode == "undescribed":
                send(id=number, result={"tools": [{"name": 5}]})
            case "tools/list" if "cursor" not in params:
                send(id=number, result={"tools": tools[:1], "nextCursor": "rest"})
            case "tools/list":
                send(id=number, result={"tools": tools[1:]})
            case "tools/call":
                call(number, params["name"], params["arguments"])


if __name__ == "__main__":
    main(sys.argv[1])
