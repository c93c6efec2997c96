"""A request of OpenAI's chat or completions route, checked and in our terms. Every number has a bound.

Source: https://platform.openai.com/docs/api-reference. Knows nothing of models: whether a prompt fits is seen later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ._fields import Fields, Refused
from ._messages import turns

MAX_CHOICES = 64
"""Of all prompts together: as many generations may be in flight in one process."""
MAX_STOPS = 16
MAX_STOP_CHARS = 1024
MAX_BIASES = 1024
MAX_TOP_LOGPROBS = 20
MAX_TOOLS = 128
_MOST = (1 << 31) - 1
_MASK = (1 << 64) - 1

_COMMON = """
model max_tokens n stop stream stream_options temperature top_p top_k min_p presence_penalty frequency_penalty
repetition_penalty logit_bias seed logprobs user
""".split()  # noqa: SIM905
_CHAT = """
messages max_completion_tokens top_logprobs response_format tools tool_choice parallel_tool_calls functions
function_call modalities audio web_search_options store metadata service_tier safety_identifier prompt_cache_key
prompt_cache_retention prediction reasoning_effort verbosity
""".split()  # noqa: SIM905
_COMPLETIONS = ("prompt", "echo", "suffix", "best_of")
_NOT_SERVED = {
    "functions": "use 'tools'",
    "function_call": "use 'tool_choice'",
    "audio": "this server serves text",
    "web_search_options": "a program can search, with a tool",
    "suffix": "only continuations are served",
}


@dataclass(slots=True)
class Ask:
    """What is wanted."""

    chat: bool
    model: str | None
    prompts: list[str | list[int]]
    """Of completions."""
    messages: list[dict[str, Any]]
    """Of a chat."""
    n: int
    stream: bool
    include_usage: bool
    max_tokens: int | None
    stop: list[str]
    logprobs: int | None
    """So many alternatives a token; None: no log-probabilities."""
    sampling: dict[str, Any]
    seed: int | None
    echo: bool = False
    schema: Any = None
    """The reply is JSON of this schema."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)
    """The reply calls tools, and only these."""
    parallel: bool = True

    def seed_of(self, index: int) -> int | None:
        """Choices of one request differ; the first is what the seed alone gives."""
        return None if self.seed is None else (self.seed + index * 0x9E37_79B9_7F4A_7C15) & _MASK


def parse(chat: bool, request: Any) -> Ask:
    """Raises `Refused`."""
    fields = Fields(request)
    fields.only(*_COMMON, *(_CHAT if chat else _COMPLETIONS))
    fields.refuse(_NOT_SERVED)
    options = Fields(fields.get("stream_options", dict) or {}, "stream_options")
    options.only("include_usage", "include_obfuscation")
    prompts = [] if chat else _prompts(fields)
    n = fields.integer("n", 1, MAX_CHOICES) or 1
    if max(1, len(prompts)) * n > MAX_CHOICES:
        raise Refused(f"{len(prompts)} prompts with n={n} are too many; at most {MAX_CHOICES} choices.", "n")
    ask = Ask(
        chat=chat,
        model=fields.get("model", str),
        prompts=prompts,
        messages=turns(fields.get("messages")) if chat else [],
        n=n,
        stream=fields.flag("stream") or False,
        include_usage=options.flag("include_usage") or False,
        max_tokens=fields.integer("max_tokens", 0 if not chat else 1, _MOST),
        stop=_stops(fields),
        logprobs=None,
        sampling=_sampling(fields),
        seed=fields.integer("seed", -(1 << 63), _MASK),
    )
    if chat:
        _chat(ask, fields)
    else:
        _completions(ask, fields)
    return ask


def _chat(ask: Ask, fields: Fields) -> None:
    most = fields.integer("max_completion_tokens", 1, _MOST)
    ask.max_tokens = ask.max_tokens if most is None else most
    top = fields.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if fields.flag("logprobs"):
        ask.logprobs = top or 0
    elif top:
        raise Refused("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    for modality in fields.get("modalities", list) or []:
        if modality != "text":
            raise Refused("this server serves text only.", "modalities")
    ask.schema = _schema(fields)
    ask.parallel = fields.flag("parallel_tool_calls") is not False
    _tools(ask, fields)
    if ask.forced and ask.schema is not None:
        raise Refused("a reply that must call a tool has no 'response_format'.", "response_format")


def _completions(ask: Ask, fields: Fields) -> None:
    ask.logprobs = fields.integer("logprobs", 0, MAX_TOP_LOGPROBS)
    ask.echo = fields.flag("echo") or False
    if ask.echo and ask.logprobs is not None:
        raise Refused("'logprobs' of the prompt ('echo') are not supported.", "echo")
    if (fields.integer("best_of", 1, MAX_CHOICES) or ask.n) != ask.n:
        raise Refused("'best_of' must equal 'n': a program can score choices as it likes.", "best_of")
    ask.max_tokens = 16 if ask.max_tokens is None else ask.max_tokens
    if ask.max_tokens == 0:
        raise Refused("'max_tokens' must be at least 1.", "max_tokens")


def _prompts(fields: Fields) -> list[str | list[int]]:
    given = fields.get("prompt", str, list)
    if given is None or given == []:
        raise Refused("Missing required parameter: 'prompt'.", "prompt")
    several = given if isinstance(given, list) and not _is_tokens(given) else [given]
    if len(several) > MAX_CHOICES:
        raise Refused(f"'prompt' has {len(several)} prompts, at most {MAX_CHOICES}.", "prompt")
    for one in several:
        if not one or not (isinstance(one, str) or _is_tokens(one)):
            raise Refused("'prompt' must be a non-empty string or array of token ids, or an array of them.", "prompt")
    return several


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int and 0 <= token < 1 << 32 for token in value)


def _stops(fields: Fields) -> list[str]:
    given = fields.get("stop", str, list)
    stops = [given] if isinstance(given, str) else given or []
    if len(stops) > MAX_STOPS:
        raise Refused(f"'stop' has {len(stops)} strings, at most {MAX_STOPS}.", "stop")
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARS:
            raise Refused(f"'stop' must be strings of 1 to {MAX_STOP_CHARS} characters.", "stop")
    return stops


def _sampling(fields: Fields) -> dict[str, Any]:
    """Arguments of `Context.generate`. OpenAI's default temperature is 1."""
    temperature = fields.number("temperature", 0, 2)
    sampling: dict[str, Any] = {
        "temperature": 1.0 if temperature is None else temperature,
        "top_k": fields.integer("top_k", -1, _MOST),
        "top_p": fields.number("top_p", 0, 1),
        "min_p": fields.number("min_p", 0, 1),
        "presence_penalty": fields.number("presence_penalty", -2, 2),
        "frequency_penalty": fields.number("frequency_penalty", -2, 2),
        "repetition_penalty": fields.number("repetition_penalty", 0.01, 10),
        "logit_bias": _bias(fields),
    }
    if sampling["top_p"] == 0:  # the most probable token alone
        sampling |= {"top_p": None, "temperature": 0.0}
    if (sampling["top_k"] or 0) <= 0:
        sampling["top_k"] = None
    return {name: value for name, value in sampling.items() if value is not None}


def _bias(fields: Fields) -> dict[int, float] | None:
    given = fields.get("logit_bias", dict)
    if not given:
        return None
    if len(given) > MAX_BIASES:
        raise Refused(f"'logit_bias' has {len(given)} tokens, at most {MAX_BIASES}.", "logit_bias")
    bias = dict[int, float]()
    for token in given:
        if not (token.isascii() and token.isdigit() and len(token) < 10):
            raise Refused(f"'logit_bias' maps token ids to numbers; {token[:50]!r} is no token id.", "logit_bias")
        bias[int(token)] = Fields(given, "logit_bias").number(token, -100, 100) or 0.0
    return bias


def _schema(fields: Fields) -> Any:
    given = fields.get("response_format", dict)
    if given is None:
        return None
    form = Fields(given, "response_format")
    form.only("type", "json_schema")
    form.text("type")
    kind = form.choice("type", "text", "json_object", "json_schema")
    if kind != "json_schema":
        return {"type": "object"} if kind == "json_object" else None
    named = Fields(form.get("json_schema", dict), "response_format.json_schema")
    named.only("name", "description", "schema", "strict")
    schema = named.get("schema", dict)
    return {"type": "object"} if schema is None else schema


def _tools(ask: Ask, fields: Fields) -> None:
    given = fields.get("tools", list) or []
    if len(given) > MAX_TOOLS:
        raise Refused(f"'tools' has {len(given)} tools, at most {MAX_TOOLS}.", "tools")
    tools = [_tool(Fields(tool, f"tools[{index}]")) for index, tool in enumerate(given)]
    names = [tool["function"]["name"] for tool in tools]
    choice = fields.get("tool_choice", str, dict)
    if isinstance(choice, dict):
        named = Fields(choice, "tool_choice")
        named.choice("type", "function")
        ask.forced = [Fields(named.get("function", dict), "tool_choice.function").text("name")]
        ask.parallel = False
    elif fields.choice("tool_choice", "none", "auto", "required") == "required":
        ask.forced = names
    if choice not in (None, "none", "auto") and not tools:
        raise Refused("'tool_choice' needs 'tools'.", "tool_choice")
    _known(ask.forced, names)
    ask.tools = [] if choice == "none" else tools


def _known(wanted: Sequence[str], names: Sequence[str]) -> None:
    for name in wanted:
        if name not in names:
            raise Refused(f"'tool_choice' names {name[:100]!r}, which is not among 'tools'.", "tool_choice")


def _tool(tool: Fields) -> dict[str, Any]:
    tool.text("type")
    tool.choice("type", "function")
    function = Fields(tool.get("function", dict), tool.name("function"))
    function.only("name", "description", "parameters", "strict")
    name = function.text("name")
    if not 0 < len(name) <= 64 or not all(c.isalnum() or c in "_-." for c in name):
        raise Refused("a function's name has 1 to 64 letters, digits, '_', '-' and '.'.", function.name("name"))
    parameters = function.get("parameters", dict) or {"type": "object", "properties": {}}
    described = {"name": name, "description": function.get("description", str) or "", "parameters": parameters}
    return {"type": "function", "function": described}
