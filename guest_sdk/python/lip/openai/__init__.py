"""OpenAI's completions and chat completions, as a program: what the host runs for `/v1/chat/completions`.

    @main
    async def app(route: str, request: dict) -> dict:
        return await openai.answer(route, request)

The contract between the host and the program that answers, whatever language that is in:

arguments   `route`: "chat" or "completions"; `request`: the client's JSON object, unchecked
output      each line is the JSON of one chunk, for a request that streams
result      `{"status": 200, "body": ...}`: the answer, or null behind chunks;
            `{"status": 4xx or 5xx, "body": {"error": {"message", "type", "param", "code"}}}`

The host adds the framing of the stream, nothing else; a client that leaves ends the program.
"""

from __future__ import annotations

import asyncio
from typing import Any

from .._model import models, open_model
from ..constraint import Constraint
from ..context import Context
from ..errors import Error, Invalid, LimitExceeded
from ..tools import usage
from ._calls import CallReader, Format, learn
from ._choice import Choice
from ._fields import Refused
from ._logprobs import Logprobs
from ._request import Ask, parse
from ._wire import Wire

__all__ = ["answer"]

_STATUS = {
    "not-found": 404,
    "permission-denied": 403,
    "no-space": 503,
    "busy": 503,
    "unavailable": 503,
    "timed-out": 504,
    "internal": 500,
    "cancelled": 499,
}
"""HTTP's status for what the host refuses; 400 for the others."""


async def answer(route: str, request: dict[str, Any]) -> dict[str, Any]:
    """Answer a request of `/v1/chat/completions` (route "chat") or `/v1/completions`: chunks are emitted, the rest is
    the result. Raises nothing that a request can bring about."""
    try:
        return {"status": 200, "body": await _answer(parse(route == "chat", request))}
    except Refused as refused:
        return _refusal(refused.status, refused.message, refused.param, refused.code)
    except Error as error:
        text = f"{error.message} ({error.hint})" if error.hint else error.message
        return _refusal(_STATUS.get(error.code, 400), text, None, error.code.replace("-", "_"))


def _refusal(status: int, message: str, param: str | None, code: str | None) -> dict[str, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"status": status, "body": {"error": {"message": message, "type": kind, "param": param, "code": code}}}


async def _answer(ask: Ask) -> Any:
    known = [info.name for info in models()]
    name = known[0] if ask.model is None else ask.model
    if name not in known:
        message = f"The model {name[:200]!r} does not exist; there are {', '.join(map(repr, known))}."
        raise Refused(message, "model", "model_not_found", 404)
    wire = Wire(ask.chat, name, ask.stream, ask.include_usage)
    prompts = _prompts(ask, name)
    calls = learn(open_model(name).render, ask.tools) if ask.tools else None
    options = _options(ask, name, calls)
    sizes = [_fitting(context) for context in prompts]
    choices = [
        Choice(wire, index, *_reader(calls, name), None if ask.logprobs is None else Logprobs(open_model(name)))
        for index in range(len(prompts) * ask.n)
    ]
    for index in range(len(choices)):
        wire.begin(index)
    if ask.n > 1:  # computed once, shared by all choices
        await asyncio.gather(*(context.flush() for context in prompts))
    reused = usage().reused_tokens

    async def one(index: int) -> dict[str, Any]:
        prompt = prompts[index // ask.n]
        context = prompt if ask.n == 1 else prompt.fork()
        echoed = _text_of(ask.prompts[index // ask.n], name) if ask.echo else ""
        seeded = {**options, "seed": ask.seed_of(index % ask.n)}
        return await choices[index].write(context, seeded, echoed)

    whole = await asyncio.gather(*map(one, range(len(choices))))
    used = _usage(sum(sizes), sum(choice.tokens for choice in choices), reused if ask.n > 1 else None)
    wire.usage(used)
    return None if ask.stream else wire.whole(whole, used)


def _prompts(ask: Ask, model: str) -> list[Context]:
    """A context for each prompt, with nothing computed."""
    if not ask.chat:
        return [Context(model=model).feed(prompt) for prompt in ask.prompts]
    context = Context(model=model, **({"tools": ask.tools} if ask.tools else {}))
    for turn in ask.messages:
        context.message(**turn)
    try:
        return [context.assistant_start()]
    except Invalid as error:
        raise Refused(f"{error.message}.", "messages") from None


def _fitting(context: Context) -> int:
    length, limit = len(context), context.model.context_limit
    if length >= limit:
        message = f"This model's maximum context length is {limit} tokens, and the prompt has {length}."
        raise Refused(message, "messages", "context_length_exceeded")
    return length


def _options(ask: Ask, model: str, calls: Format | None) -> dict[str, Any]:
    """Arguments of `Context.stream` that all choices share."""
    most = open_model(model).info.context_limit
    options: dict[str, Any] = {**ask.sampling, "stop": ask.stop, "logprobs": ask.logprobs}
    options["max_tokens"] = most if ask.max_tokens is None else min(ask.max_tokens, most)
    if ask.forced:
        if calls is None:
            raise Refused("the model's chat template has no tool calls that could be required.", "tool_choice")
        wanted = [tool for tool in ask.tools if tool["function"]["name"] in ask.forced]
        options["constraint"] = _constraint("tools", Constraint.grammar, calls.grammar(wanted, ask.parallel), model)
    elif ask.schema is not None:
        options["constraint"] = _constraint("response_format", Constraint.json_schema, ask.schema, model)
    return options


def _constraint(param: str, make: Any, what: Any, model: str) -> Constraint:
    try:
        return make(what, model=model)
    except (Invalid, LimitExceeded) as error:
        raise Refused(f"Invalid schema: {error.message}", param) from None


def _reader(calls: Format | None, model: str) -> tuple[CallReader | None, int | None]:
    """What tells calls from text, and the special token that announces them, if it is one."""
    if calls is None:
        return None, None
    marker = open_model(model).encode(calls.marker, special=True) if calls.marker else []
    return CallReader(calls.marker), marker[0] if len(marker) == 1 else None


def _text_of(prompt: str | list[int], model: str) -> str:
    return prompt if isinstance(prompt, str) else open_model(model).decode(prompt)


def _usage(prompt: int, completion: int, reused: int | None) -> dict[str, Any]:
    cached = min(prompt, usage().reused_tokens if reused is None else reused)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
