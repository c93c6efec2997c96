"""The shapes of what goes over HTTP, as JSON schemas: the components of the OpenAPI document.

Kept by hand beside the handlers that write them; tests hold real answers against them. They say what clients may rely
on: members may be added, none of these goes away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symphony.errors import BY_CODE, ProgramError

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "string", "enum": ["0", "1"]}
ANYTHING: Schema = {}
BYTES: Schema = {"type": "string", "format": "binary"}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def many(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def record(members: Mapping[str, Schema], **optional: Schema) -> Schema:
    """An object with all of `members`, maybe some of `optional`, and whatever comes later."""
    return {"type": "object", "required": list(members), "properties": {**members, **optional}}


def maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


SCHEMAS: dict[str, Schema] = {
    "Error": record(
        {
            "error": record(
                {
                    "code": {"type": "string", "enum": sorted({*BY_CODE, ProgramError.code})},
                    "message": TEXT,
                    "hint": TEXT,
                },
                traceback=TEXT,
            )
        },
        pid=COUNT,
        output=TEXT,
        usage=ref("Usage"),
    ),
    "OpenAIError": record(
        {"error": record({"message": TEXT, "type": TEXT, "param": maybe(TEXT), "code": maybe(TEXT), "hint": TEXT})}
    ),
    "Usage": record(
        dict.fromkeys(
            (
                "forwards",
                "prompt_tokens",
                "reused_tokens",
                "generated_tokens",
                "accepted_tokens",
                "pages",
                "cpu_us",
                "wall_us",
            ),
            COUNT,
        )
    ),
    "Program": record(
        {
            "id": TEXT,
            "name": TEXT,
            "kind": {"type": "string", "enum": ["python", "component"]},
            "size": COUNT,
            "created": NUMBER,
            "names": many(TEXT),
            "parameters": maybe({"type": "object", "additionalProperties": TEXT}),
        }
    ),
    "Run": record({"pid": COUNT, "result": ANYTHING, "output": TEXT, "usage": ref("Usage")}),
    "Started": record({"pid": COUNT}),
    "Process": record(
        {
            "pid": COUNT,
            "parent": maybe(COUNT),
            "program": TEXT,
            "tenant": TEXT,
            "nice": {"type": "integer"},
            "state": TEXT,
            "waits_for": many(TEXT),
            "started": NUMBER,
            "usage": ref("Usage"),
            "files": COUNT,
            "pages": record({"device": COUNT, "host": COUNT}),
            "operations": many(TEXT),
        },
        output=TEXT,
    ),
    "Trace": record(
        {"traceEvents": many({"type": "object"}), "displayTimeUnit": TEXT, "otherData": {"type": "object"}}
    ),
    "Name": record({"path": TEXT}),
    "Status": record({"models": many({"type": "object"}), "processes": record({"live": COUNT})}),
    "Model": record({"id": TEXT, "object": TEXT, "context_limit": COUNT, "page_size": COUNT, "vocab_size": COUNT}),
}
