"""How a model writes tool calls: learnt from its chat template, which is asked to render some.

    opening  name  middle  arguments  between  name  middle  arguments  closing
    <tool_call>{"name": " f ", "arguments":  {...} ... }</tool_call>

So one reader and one grammar serve every family whose calls are JSON objects with a name (Qwen and Hermes, Llama 3,
Mistral). Of a template that writes them otherwise, replies are text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Invalid

MAX_CALLS = 32
"""Of one reply."""
_NAMES = ("alpha_call", "omega_call")
_TEXT = "what-a-plain-reply-says"
_ARGUMENTS = re.compile(r'\{\s*"sentinel"\s*:\s*1\s*\}')
_HEAD = re.compile(r'\s*\[?\s*\{\s*"name"\s*:\s*"$')


@dataclass(slots=True, frozen=True)
class Format:
    """The texts around the names and arguments of calls. `between` is None where a reply has one call only."""

    opening: str
    middle: str
    between: str | None
    closing: str

    @property
    def marker(self) -> str:
        """What tells that calls follow; empty where they are a reply that begins with a brace."""
        return _HEAD.sub("", self.opening).strip()

    def grammar(self, tools: Sequence[dict[str, Any]], parallel: bool) -> str:
        """A Lark grammar of replies that call these tools."""
        more = f" ({_quoted(self.between)} call){{0,{MAX_CALLS - 1}}}" if parallel and self.between else ""
        lines = [f"start: {_quoted(self.opening)} call{more} {_quoted(self.closing)}".rstrip()]
        lines.append("call: " + " | ".join(f"call{index}" for index in range(len(tools))))
        for index, tool in enumerate(tools):
            head = _quoted(tool["function"]["name"] + self.middle)
            lines += [f"call{index}: {head} args{index}", f"args{index}: %json {json.dumps(_object(tool))}"]
        return "\n".join(lines)


def learn(render: Callable[[str], str], tools: Sequence[dict[str, Any]]) -> Format | None:
    """The format of a model's calls; None where its template has none that can be read."""

    def rendered(reply: dict[str, Any] | None) -> str:
        messages = [{"role": "user", "content": "-"}, *([{"role": "assistant", **reply}] if reply else [])]
        return render(json.dumps({"messages": messages, "tools": tools, "add_generation_prompt": reply is None}))

    try:
        prompt, plain = rendered(None), rendered({"content": _TEXT})
    except Invalid:
        return None
    for names in (_NAMES, _NAMES[:1]):  # some templates refuse two calls at once
        try:
            text = rendered({"content": "", "tool_calls": [_sentinel(name) for name in names]})
        except Invalid:
            continue
        found = _split(prompt, text, plain.partition(_TEXT)[2], names)
        if found is not None:
            return found
    return None


def _split(prompt: str, text: str, ending: str, names: Sequence[str]) -> Format | None:
    at = next((i for i, (a, b) in enumerate(zip(prompt, text, strict=False)) if a != b), min(len(prompt), len(text)))
    pieces = list[str]()
    for name in names:
        start = text.find(name, at)
        arguments = _ARGUMENTS.search(text, start + len(name)) if start >= 0 else None
        if arguments is None:
            return None
        pieces += [text[at:start], text[start + len(name) : arguments.start()]]
        at = arguments.end()
    closing = text[at:].removesuffix(ending)
    if not _HEAD.search(pieces[0]):
        return None
    return Format(pieces[0], pieces[1], pieces[2] if len(names) > 1 else None, closing)


def _sentinel(name: str) -> dict[str, Any]:
    return {"id": "call00000", "type": "function", "function": {"name": name, "arguments": {"sentinel": 1}}}


def _object(tool: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", **tool["function"]["parameters"]}


def _quoted(text: str) -> str:
    """`text` as a Lark string; nothing for none."""
    return json.dumps(text, ensure_ascii=False) if text else ""


@dataclass(slots=True, frozen=True)
class Call:
    name: str
    arguments: str
    """The JSON of an object."""


class CallReader:
    """Tells calls from text in a reply that comes in pieces. Text that may begin a marker is withheld."""

    def __init__(self, marker: str) -> None:
        self._marker = marker
        self._held = ""
        self._calling = False
        self._bare = not marker
        """Calls have no marker: a reply that begins with a brace may be one, as a whole."""
        self._found = 0

    def push(self, piece: str) -> tuple[str, list[Call]]:
        """The text, and the calls, that became complete."""
        self._held += piece
        if not self._calling:
            text = self._until_calls()
            if not self._calling:
                return text, []
            return text, self._calls()
        return "", self._calls() if "}" in piece else []

    def end(self) -> str:
        """What is left is text, where no call was found in it."""
        rest, self._held = self._held, ""
        return "" if self._found else rest

    def _until_calls(self) -> str:
        if self._bare:
            begun = self._held.lstrip()
            self._calling = begun.startswith("{")
            self._bare = not begun or self._calling
            if self._bare:
                return ""
        at = self._held.find(self._marker) if self._marker else -1
        self._calling = at >= 0
        keep = len(self._held) - at if self._calling else _overlap(self._held, self._marker)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def _calls(self) -> list[Call]:
        calls = list[Call]()
        while self._found < MAX_CALLS and (at := self._held.find("{")) >= 0:
            try:
                value, end = _DECODER.raw_decode(self._held, at)
            except (ValueError, RecursionError):
                break
            call = _call(value)
            if call is None:
                break
            calls.append(call)
            self._found += 1
            self._held = self._held[end:]
        return calls


_DECODER = json.JSONDecoder()


def _call(value: Any) -> Call | None:
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, dict):
        return Call(value["name"], json.dumps(arguments, ensure_ascii=False))
    return Call(value["name"], arguments) if isinstance(arguments, str) else None


def _overlap(text: str, marker: str) -> int:
    """How many characters at the end of `text` begin the marker."""
    for n in range(min(len(text), len(marker) - 1), 0, -1):
        if text.endswith(marker[:n]):
            return n
    return 0
