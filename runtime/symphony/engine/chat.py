"""A model's chat template: a conversation in, the prompt's text out.

Templates are Jinja as Hugging Face writes it, rendered by minijinja with bounded fuel and bounded output: the template
comes with the model, the conversation from a guest. minijinja charges its own work to the fuel; what our filters write
is counted here. It knows nothing of tokens.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from symphony import param
from symphony.engine.directory import read_json
from symphony.errors import Invalid, LimitExceeded

_TOOLS = "tool_use"
"""What transformers calls a template for conversations with tools, where a model has one."""
_GENERATION = re.compile(r"{%([-+]?)\s*(end)?generation\s*([-+]?)%}")
"""A statement of transformers' own, which marks what a model is to learn and renders nothing."""
MAX_TEMPLATE_BYTES = 1 << 20
"""Of a template's source; the longest that models come with has some ten thousand."""
MAX_INDENT = 16
_DATES = re.compile(r"(?:[^%]|%-?[a-zA-Z%]){0,100}")
"""What `strftime_now` takes: no widths, which may be any number."""
_left: ContextVar[list[int]] = ContextVar("characters that our filters may still write in this rendering")


class _Rejected(Exception):
    """The template called `raise_exception`."""


class _TooMuch(Exception):
    """Filters of ours wrote more than one rendering may."""


class ChatTemplate:
    """A compiled template, perhaps with one of its own for conversations with tools. Rendering does not block."""

    def __init__(
        self, source: str, variables: Mapping[str, Any] | None = None, *, for_tools: str | None = None
    ) -> None:
        """`variables`: what the template may use besides the conversation (`bos_token`...). Raises Invalid."""
        import minijinja

        self._errors = minijinja.TemplateError
        environment = minijinja.Environment()
        environment.trim_blocks = True
        environment.lstrip_blocks = True
        environment.pycompat = True
        environment.fuel = param.CHAT_TEMPLATE_FUEL
        environment.auto_escape_callback = _never_escape
        environment.add_global("raise_exception", _raise)
        environment.add_global("strftime_now", _strftime_now)
        environment.add_filter("tojson", _tojson)
        if max(len(source), len(for_tools or "")) > MAX_TEMPLATE_BYTES:
            raise Invalid(
                f"the model's chat template is longer than {MAX_TEMPLATE_BYTES >> 20} MiB", "download the model again"
            )
        try:
            environment.add_template("chat", _GENERATION.sub(_harmless, source))
            if for_tools is not None:
                environment.add_template("tools", _GENERATION.sub(_harmless, for_tools))
        except self._errors as e:
            raise Invalid(
                f"the model's chat template cannot be read: {_reason(e)}", "download chat_template.jinja again"
            ) from e
        self._environment = environment
        self._for_tools = "chat" if for_tools is None else "tools"
        self._variables = dict(variables or {})

    @classmethod
    def load(cls, directory: Path) -> ChatTemplate | None:
        """The template of a model directory: chat_template.jinja, or the entry of tokenizer_config.json; or None.

        Raises Invalid for a template that cannot be read.
        """
        config = read_json(directory / "tokenizer_config.json", required=False)
        found = _named(config.get("chat_template"))
        for name, file in (("default", "chat_template.jinja"), (_TOOLS, f"additional_chat_templates/{_TOOLS}.jinja")):
            if (directory / file).is_file():
                found[name] = _read(directory / file)
        if "default" not in found:
            return None
        names = ("bos_token", "eos_token", "pad_token", "unk_token")
        variables = {name: _token_text(config[name]) for name in names if config.get(name)}
        return cls(found["default"], variables, for_tools=found.get(_TOOLS))

    def render(self, conversation: dict[str, Any]) -> str:
        """The prompt's text.

        `conversation`: `messages`, optionally `tools` and `add_generation_prompt`; further members are variables.
        Raises Invalid with the template's message, LimitExceeded if it ran too long or wrote too much.
        """
        if not isinstance(conversation.get("messages"), list):
            raise Invalid("the conversation has no list of messages", 'give {"messages": [{"role", "content"}, ...]}')
        arguments = {"add_generation_prompt": False, "tools": None, "documents": None} | self._variables | conversation
        _left.set([param.MAX_TEXT_CHARS])
        try:
            text = self._environment.render_template(self._for_tools if arguments["tools"] else "chat", **arguments)
        except _Rejected as e:
            raise Invalid(f"the chat template rejected the conversation: {e}") from e
        except _TooMuch as e:
            raise LimitExceeded(
                f"the chat template wrote more than {param.MAX_TEXT_CHARS} characters of JSON",
                "render fewer or shorter messages at a time",
            ) from e
        except self._errors as e:
            if "OutOfFuel" in str(e.kind) or "fuel" in str(e).lower():
                raise LimitExceeded(
                    "the chat template ran too long", "render fewer or shorter messages at a time"
                ) from e
            raise Invalid(f"the chat template failed: {_reason(e)}", "check the messages' members") from e
        except (TypeError, ValueError, RecursionError) as e:  # a filter met a value that it cannot take
            raise Invalid(f"the chat template failed: {e}", "check the messages' members") from e
        if len(text) > param.MAX_TEXT_CHARS:
            raise LimitExceeded(f"the rendered conversation is longer than {param.MAX_TEXT_CHARS} characters")
        return text


def _reason(error: Any) -> str:
    return str(getattr(error, "message", error)).strip()


def _raise(message: str) -> str:
    raise _Rejected(message)


def _strftime_now(form: str) -> str:
    if not _DATES.fullmatch(form):
        raise ValueError(f"strftime_now cannot write {form[:100]!r}")
    return datetime.datetime.now().strftime(form)


def _never_escape(_name: str) -> bool:
    return False


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # As transformers does; minijinja's own filter escapes `<` and `>`, which models were not trained on.
    if indent is not None and not 0 <= indent <= MAX_INDENT:
        raise ValueError(f"tojson cannot indent by {indent}")
    marks = None if separators is None else (separators[0], separators[1])
    text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=marks, sort_keys=sort_keys)
    left = _left.get()
    left[0] -= len(text)
    if left[0] < 0:
        raise _TooMuch
    return text


def _named(source: Any) -> dict[str, str]:
    """An entry of tokenizer_config.json: one template, or several with names."""
    if isinstance(source, str):
        return {"default": source}
    entries = [entry for entry in source if isinstance(entry, dict)] if isinstance(source, list) else []
    return {str(e.get("name")): e["template"] for e in entries if isinstance(e.get("template"), str)}


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_TEMPLATE_BYTES + 1).decode()
    except (UnicodeDecodeError, OSError) as e:
        raise Invalid(f"{path} cannot be read: {e}", "download the model again") from e


def _harmless(tag: re.Match[str]) -> str:
    left, end, right = tag.groups()
    return f"{{%{left} {'endif' if end else 'if true'} {right}%}}"


def _token_text(token: Any) -> str:
    return str(token["content"] if isinstance(token, dict) else token)
