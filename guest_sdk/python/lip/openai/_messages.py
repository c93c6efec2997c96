"""The messages of a chat, checked, in the form that chat templates expect: text, and arguments of calls as objects.

Knows nothing of models.
"""

from __future__ import annotations

import json
from typing import Any

from ._fields import Fields, Refused

MAX_MESSAGES = 4096
_ROLES = ("system", "developer", "user", "assistant", "tool")
_COMMON = ("role", "content", "name")


def turns(messages: Any) -> list[dict[str, Any]]:
    """A dict a message with `role`, `content` and what else its role has. Raises `Refused`."""
    if not isinstance(messages, list) or not messages:
        raise Refused("'messages' must be a non-empty array.", "messages")
    if len(messages) > MAX_MESSAGES:
        raise Refused(f"'messages' has {len(messages)} messages, at most {MAX_MESSAGES}.", "messages")
    return [_turn(Fields(message, f"messages[{index}]")) for index, message in enumerate(messages)]


def _turn(message: Fields) -> dict[str, Any]:
    message.text("role")
    role = message.choice("role", *_ROLES)
    if role == "assistant":
        return _assistant(message)
    message.only(*_COMMON, *(("tool_call_id",) if role == "tool" else ()))
    content = _content(message)
    if content is None:
        raise Refused(f"Missing required parameter: '{message.name('content')}'.", message.name("content"))
    turn = {"role": "system" if role == "developer" else role, "content": content}
    if role == "tool":
        turn["tool_call_id"] = message.text("tool_call_id")
    name = message.get("name", str)
    return turn if name is None else {**turn, "name": name}


def _assistant(message: Fields) -> dict[str, Any]:
    message.refuse({"function_call": "use 'tool_calls'", "audio": "this server serves text"})
    message.only(*_COMMON, "tool_calls", "refusal", "function_call", "audio", "annotations")
    content, calls = _content(message), message.get("tool_calls", list)
    if content is None and not calls:
        raise Refused("an assistant message needs 'content' or 'tool_calls'.", message.name("content"))
    turn: dict[str, Any] = {"role": "assistant", "content": content or ""}
    if calls:
        turn["tool_calls"] = [
            _call(Fields(call, f"{message.name('tool_calls')}[{index}]")) for index, call in enumerate(calls)
        ]
    return turn


def _call(call: Fields) -> dict[str, Any]:
    call.choice("type", "function")
    function = Fields(call.get("function", dict), call.name("function"))
    try:
        arguments = json.loads(function.text("arguments") or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise Refused(f"'{function.name('arguments')}' must be the JSON of an object.", function.name("arguments"))
    return {
        "id": call.text("id"),
        "type": "function",
        "function": {"name": function.text("name"), "arguments": arguments},
    }


def _content(message: Fields) -> str | None:
    content = message.get("content", str, list)
    if not isinstance(content, list):
        return content
    texts: list[str] = []
    for index, item in enumerate(content):
        part = Fields(item, f"{message.name('content')}[{index}]")
        if part.get("type") != "text":
            raise Refused("only parts of type 'text' are supported.", part.name("type"))
        texts.append(part.text("text"))
    return "".join(texts)
