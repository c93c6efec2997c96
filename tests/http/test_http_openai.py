"""OpenAI's routes, met by the real `openai` client: a host on loopback with `tiny`, and the program that ships."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import openai
import pytest
from live_server import Server
from pydantic import BaseModel

from symphony.host import Config, Runtime

ROOT = Path(__file__).resolve().parents[2]
HELLO = [{"role": "user", "content": "Hello!"}]
PARIS = [{"role": "user", "content": "What is the weather in Paris?"}]
GREETING = "Hello! How can I help you?"


def function(name: str, **properties: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {p: {"type": t} for p, t in properties.items()}}
    parameters |= {"required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"Get the {name}.", "parameters": parameters}}


WEATHER = [function("weather", city="string")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    config = Config(pages=600, host_pages=64)
    with Server(Runtime("tiny", device="cpu", home=tmp_path_factory.mktemp("home"), config=config)) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server[Runtime]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(autouse=True)
def clean(server: Server[Runtime]) -> Iterator[None]:
    """After each case nothing runs and nothing is held, and the books are right."""
    yield
    until(lambda: all(process.state.ended for process in server.runtime.processes()))
    assert all(process.instance is None for process in server.runtime.processes())

    async def audit() -> None:
        server.runtime.core.check_integrity()

    server.call(audit())


def until(condition: Any) -> None:
    while not condition():  # the test's own time limit ends it
        time.sleep(0.005)


def chat(client: openai.OpenAI, messages: Any = HELLO, **options: Any) -> Any:
    given = {"model": "tiny", "temperature": 0, "max_tokens": 40, **options}
    return client.chat.completions.create(messages=messages, **given)


def check_refusal(client: openai.OpenAI, param: str, options: dict[str, Any]) -> None:
    """The request of these `options` is refused for the sake of `param`."""
    with pytest.raises(openai.BadRequestError) as refused:
        chat(client, **options)
    body: Any = refused.value.body
    assert (body["type"], body["param"]) == ("invalid_request_error", param)
    assert set(body) == {"message", "type", "param", "code"}
    assert body["message"]


def complete(client: openai.OpenAI, prompt: Any, **options: Any) -> Any:
    return client.completions.create(model="tiny", prompt=prompt, **{"temperature": 0, "max_tokens": 8, **options})


# ---- models
def test_models(client: openai.OpenAI) -> None:
    [model] = client.models.list().data
    assert (model.id, model.object) == ("tiny", "model")
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


# ---- chat
def test_chat(client: openai.OpenAI) -> None:
    answer = chat(client)
    [choice] = answer.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (GREETING, "assistant", "stop")
    assert (answer.object, answer.model, answer.usage.prompt_tokens) == ("chat.completion", "tiny", 10)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert abs(answer.created - time.time()) < 1000


def test_a_conversation_with_a_system_message_and_content_in_parts(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo!"}]
    messages = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": parts}]
    first = chat(client, messages)
    plain = chat(client, [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}])
    assert first.choices[0].message.content == plain.choices[0].message.content
    assert first.usage.prompt_tokens == plain.usage.prompt_tokens > 10


def test_the_length_limit(client: openai.OpenAI) -> None:
    for limit in ("max_tokens", "max_completion_tokens"):
        answer = client.chat.completions.create(model="tiny", messages=HELLO, temperature=0, **{limit: 3})  # type: ignore[call-overload]
        assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 3)
        assert GREETING.startswith(answer.choices[0].message.content)


def test_streaming_says_the_same(client: openai.OpenAI) -> None:
    chunks = list(chat(client, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == GREETING
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert len({(c.id, c.object, c.created) for c in chunks}) == 1
    assert all(c.usage is None for c in chunks)


def test_usage_of_a_stream(client: openai.OpenAI) -> None:
    *chunks, last = chat(client, stream=True, stream_options={"include_usage": True})
    assert all(c.usage is None for c in chunks)
    assert (last.choices, last.usage) == ([], chat(client).usage)


def test_cached_tokens(client: openai.OpenAI) -> None:
    messages = [{"role": "user", "content": "Tell me about the quick brown fox. " * 12}]
    first, second = chat(client, messages, max_tokens=1), chat(client, messages, max_tokens=1)
    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert 64 <= second.usage.prompt_tokens_details.cached_tokens < second.usage.prompt_tokens
    assert second.usage.prompt_tokens == first.usage.prompt_tokens


def test_stop_strings_split_over_tokens(client: openai.OpenAI) -> None:
    for stop, text in ((" can I", "Hello! How"), (["zz", "lp you"], "Hello! How can I he"), ("!", "Hello")):
        answer = chat(client, stop=stop)
        assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (text, "stop")
        streamed = [c.choices[0].delta.content or "" for c in chat(client, stop=stop, stream=True)]
        assert "".join(streamed) == text


def test_what_may_begin_a_stop_string_is_told_when_it_does_not(client: openai.OpenAI) -> None:
    assert chat(client, stop="you?!").choices[0].message.content == GREETING


def test_characters_of_several_tokens(client: openai.OpenAI) -> None:
    """Each byte of these is a token of its own; forced by the grammar, so that a model of any size writes them."""
    text = "🦊é漢字"
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": text}}}
    assert json.loads(chat(client, response_format=form).choices[0].message.content) == text
    pieces = [c.choices[0].delta.content or "" for c in chat(client, response_format=form, stream=True)]
    assert json.loads("".join(pieces)) == text
    answer = chat(client, response_format=form, logprobs=True)
    entries = answer.choices[0].logprobs.content
    assert answer.choices[0].message.content.encode()  # whole characters only
    assert any(entry.bytes is None for entry in entries)


def test_choices_share_the_prompt_and_differ(client: openai.OpenAI) -> None:
    answer = complete(client, "The", n=4, temperature=2, seed=3, max_tokens=12)
    texts = [choice.text for choice in answer.choices]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len(set(texts)) > 1
    again = complete(client, "The", n=4, temperature=2, seed=3, max_tokens=12)
    assert [choice.text for choice in again.choices] == texts
    alone = complete(client, "The", temperature=2, seed=3, max_tokens=12)
    assert alone.choices[0].text == texts[0]
    assert alone.usage.prompt_tokens == answer.usage.prompt_tokens


def test_choices_of_a_stream_are_told_apart(client: openai.OpenAI) -> None:
    whole = chat(client, n=3, temperature=1.5, seed=3)
    texts = ["", "", ""]
    for chunk in chat(client, n=3, temperature=1.5, seed=3, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == [choice.message.content for choice in whole.choices]


def test_logprobs(client: openai.OpenAI) -> None:
    entries = chat(client, logprobs=True, top_logprobs=3).choices[0].logprobs.content
    assert "".join(entry.token for entry in entries) == GREETING
    for entry in entries:
        assert bytes(entry.bytes or []).decode() == entry.token
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == pytest.approx(entry.logprob)
        assert entry.logprob <= 0
    assert chat(client).choices[0].logprobs is None
    assert chat(client, logprobs=True).choices[0].logprobs.content[0].top_logprobs == []


def test_logprobs_of_a_stream_stand_beside_their_text(client: openai.OpenAI) -> None:
    text, told = "", ""
    for chunk in chat(client, logprobs=True, stream=True, stop=" can I"):
        choice = chunk.choices[0]
        text += choice.delta.content or ""
        told += "".join(entry.token for entry in choice.logprobs.content) if choice.logprobs else ""
    assert text == told == "Hello! How"


def test_bias_and_penalties(client: openai.OpenAI) -> None:
    always = complete(client, "The fox", logit_bias={"300": 100}, max_tokens=4, logprobs=0).choices[0]
    assert len(set(always.logprobs.tokens)) == 1
    plain = complete(client, "The fox", logit_bias={"300": 40}, max_tokens=24).choices[0].text
    assert (
        complete(client, "The fox", logit_bias={"300": 40}, max_tokens=24, frequency_penalty=2).choices[0].text != plain
    )


def test_same_seed_same_text(client: openai.OpenAI) -> None:
    first, second = (chat(client, temperature=1.8, seed=11).choices[0].message.content for _ in range(2))
    assert first == second
    others = {chat(client, temperature=1.8, seed=seed).choices[0].message.content for seed in range(4)}
    assert len(others) > 1


# ---- JSON
class City(BaseModel):
    name: str
    people: int


def test_json_object(client: openai.OpenAI) -> None:
    answer = chat(client, response_format={"type": "json_object"}, max_tokens=60)
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content), dict)
    assert answer.choices[0].message.content.startswith("{")


def test_parse(client: openai.OpenAI) -> None:
    answer = client.chat.completions.parse(
        model="tiny", messages=HELLO, temperature=0, max_tokens=200, response_format=City, stop=["zzz"]
    )
    parsed = answer.choices[0].message.parsed
    assert isinstance(parsed, City)


def test_a_schema_that_cannot_be(client: openai.OpenAI) -> None:
    for schema in ({"type": "strange"}, {"type": "integer", "minimum": 3, "maximum": 1}):
        form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        with pytest.raises(openai.BadRequestError, match="schema") as refused:
            chat(client, response_format=form)
        assert refused.value.param == "response_format"


# ---- tools
def test_a_tool_call_and_its_answer(client: openai.OpenAI) -> None:
    answer = chat(client, PARIS, tools=WEATHER)
    [choice] = answer.choices
    [call] = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "Paris"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny, 20 degrees"}
    told = chat(client, [*PARIS, choice.message.model_dump(exclude_none=True), result], tools=WEATHER)
    assert told.choices[0].finish_reason == "stop"
    assert "sunny" in told.choices[0].message.content


def test_a_tool_call_in_a_stream(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="tiny", messages=PARIS, tools=WEATHER, temperature=0, max_tokens=60
    ) as stream:
        final = stream.get_final_completion()
    [call] = final.choices[0].message.tool_calls or []
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    assert final.choices[0].finish_reason == "tool_calls"
    assert not final.choices[0].message.content


def test_tools_that_are_not_needed(client: openai.OpenAI) -> None:
    answer = chat(client, tools=WEATHER)
    assert (answer.choices[0].message.tool_calls, answer.choices[0].finish_reason) == (None, "stop")
    assert answer.choices[0].message.content
    streamed = [c.choices[0].delta.content or "" for c in chat(client, tools=WEATHER, stream=True)]
    assert "".join(streamed) == answer.choices[0].message.content


def test_tool_choice(client: openai.OpenAI) -> None:
    tools = [*WEATHER, function("time", zone="string")]
    for choice, wanted in (
        ("required", {"weather", "time"}),
        ({"type": "function", "function": {"name": "time"}}, {"time"}),
    ):
        answer = chat(client, HELLO, tools=tools, tool_choice=choice, max_tokens=200).choices[0]
        assert answer.finish_reason == "tool_calls"
        assert {call.function.name for call in answer.message.tool_calls} <= wanted
        assert all(isinstance(json.loads(call.function.arguments), dict) for call in answer.message.tool_calls)
    assert chat(client, PARIS, tools=tools, tool_choice="none").choices[0].message.tool_calls is None


def test_no_parallel_calls(client: openai.OpenAI) -> None:
    answer = chat(client, PARIS, tools=WEATHER, tool_choice="required", parallel_tool_calls=False, max_tokens=100)
    assert len(answer.choices[0].message.tool_calls) == 1


# ---- completions
def test_completions(client: openai.OpenAI) -> None:
    answer = complete(client, "The quick brown")
    assert (answer.object, len(answer.choices)) == ("text_completion", 1)
    streamed = "".join(c.choices[0].text for c in complete(client, "The quick brown", stream=True))
    assert streamed == answer.choices[0].text
    assert complete(client, "The quick brown", echo=True).choices[0].text == "The quick brown" + streamed


def test_completions_of_several_prompts(client: openai.OpenAI) -> None:
    alone = [complete(client, prompt).choices[0].text for prompt in ("The fox", "A dog")]
    together = complete(client, ["The fox", "A dog"], n=2)
    assert [choice.text for choice in together.choices] == [alone[0], alone[0], alone[1], alone[1]]
    assert together.usage.prompt_tokens == sum(complete(client, p).usage.prompt_tokens for p in ("The fox", "A dog"))


def test_completions_of_tokens(client: openai.OpenAI) -> None:
    answer = complete(client, [[5, 6, 7], [8]], max_tokens=2)
    assert (len(answer.choices), answer.usage.prompt_tokens) == (2, 4)


def test_completions_with_logprobs(client: openai.OpenAI) -> None:
    choice = complete(client, "The quick brown", logprobs=2).choices[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert len(choice.logprobs.top_logprobs) == len(choice.logprobs.token_logprobs) == len(choice.logprobs.tokens)
    for offset, token in zip(choice.logprobs.text_offset, choice.logprobs.tokens, strict=True):
        assert choice.text[offset:].startswith(token)


# ---- refusals
@pytest.mark.parametrize(
    ("param", "options"),
    [
        ("temperature", {"temperature": 2.1}),
        ("temperature", {"temperature": "hot"}),
        ("top_p", {"top_p": -0.1}),
        ("n", {"n": 0}),
        ("n", {"n": 65}),
        ("n", {"n": True}),
        ("max_tokens", {"max_tokens": 0}),
        ("presence_penalty", {"presence_penalty": 3}),
        ("logit_bias", {"logit_bias": {"x": 1}}),
        ("logit_bias", {"logit_bias": {str(i): 1 for i in range(1025)}}),
        ("stop", {"stop": [""]}),
        ("stop", {"stop": ["x"] * 17}),
        ("stop", {"stop": "x" * 1025}),
        ("top_logprobs", {"top_logprobs": 3}),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 21}),
        ("response_format.type", {"response_format": {"type": "xml"}}),
        ("messages", {"messages": []}),
        ("messages[0].role", {"messages": [{"role": "robot", "content": "x"}]}),
        ("messages[0].content", {"messages": [{"role": "user"}]}),
        ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        ("messages[0].tool_call_id", {"messages": [{"role": "tool", "content": "x"}]}),
        ("tool_choice", {"tool_choice": "required"}),
        ("tool_choice", {"tools": WEATHER, "tool_choice": {"type": "function", "function": {"name": "other"}}}),
        ("tools[0].function.name", {"tools": [function("a b")]}),
        ("functions", {"functions": [{"name": "f"}]}),
        ("colour", {"extra_body": {"colour": "red"}}),
        ("stream_options.colour", {"stream": True, "stream_options": {"colour": 1}}),
    ],
)
def test_bad_requests(client: openai.OpenAI, param: str, options: dict[str, Any]) -> None:
    check_refusal(client, param, options)


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="tiny") as refused:
        chat(client, model="gpt")
    assert refused.value.code == "model_not_found"


def test_a_prompt_that_is_too_long(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="2048") as refused:
        chat(client, [{"role": "user", "content": "word " * 4000}])
    assert refused.value.code == "context_length_exceeded"


def test_a_body_that_is_too_large_or_none(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        chat(client, [{"role": "user", "content": "x" * (2 << 20)}])
    assert refused.value.status_code == 413
    assert refused.value.type == "invalid_request_error"
    for body in (b"{", b"[]", b'{"a": NaN}', b"[" * 5000, b"\xff", b'{"messages": ' + b"[" * 900 + b"]" * 900 + b"}"):
        with pytest.raises(openai.APIStatusError) as refused:
            client.post("/chat/completions", cast_to=object, content=body)
        assert refused.value.status_code == 400, body[:20]
        assert refused.value.type == "invalid_request_error"


def test_wrong_methods_and_parameters_have_the_same_shape(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.get("/chat/completions", cast_to=object)
    assert (refused.value.status_code, refused.value.type) == (405, "invalid_request_error")
    with pytest.raises(openai.BadRequestError, match="query parameter"):
        client.post("/chat/completions?x=1", cast_to=object, body={})


def test_over_a_websocket(server: Server[Runtime]) -> None:
    async def scenario() -> list[Any]:
        frames = []
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/v1/ws") as socket:
            asks = ({}, {"stream": True}, {"model": "gpt"}, {"colour": 1})
            for ident, more in enumerate(asks):
                body = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 40, **more}
                path, call = "/v1/chat/completions", {"do": "call", "id": ident, "method": "POST"}
                await socket.send_bytes(msgspec.msgpack.encode({**call, "path": path, "body": body, "events": True}))
                while "status" not in (frame := msgspec.msgpack.decode(await socket.receive_bytes())):
                    frames.append(frame)
                frames.append(frame)
        return frames

    whole, *streamed, unknown, refused = asyncio.run(scenario())
    assert whole["body"]["choices"][0]["message"]["content"] == GREETING
    assert streamed.pop()["status"] == 200
    said = "".join(data["text"] for frame in streamed for _, kind, data in frame["events"] if kind == "output")
    deltas = [json.loads(line)["choices"][0]["delta"] for line in said.splitlines()]
    assert "".join(delta.get("content") or "" for delta in deltas) == GREETING
    assert (unknown["status"], unknown["body"]["error"]["code"]) == (404, "model_not_found")
    assert (refused["status"], refused["body"]["error"]["param"]) == (400, "colour")


# ---- who leaves, who is slow, who is many
def test_a_client_that_leaves_ends_the_generation_and_frees_its_pages(
    client: openai.OpenAI, server: Server[Runtime]
) -> None:
    stream = complete(client, "The quick", stream=True, max_tokens=2000, logit_bias=NEVER_ENDING)
    next(iter(stream))
    process = server.runtime.processes()[0]
    assert not process.state.ended
    stream.close()
    until(lambda: process.state.ended)
    assert (process.state.value, process.usage.generated_tokens < 2000) == ("killed", True)
    until(lambda: server.runtime.gauges()[0].pages.used == 0)  # a step that was running keeps its pages to its end


def test_a_client_that_gives_up_waiting(client: openai.OpenAI, server: Server[Runtime]) -> None:
    before = len(server.runtime.processes())
    with pytest.raises(openai.APITimeoutError):
        complete(client.with_options(timeout=0.05), ["The quick"] * 8, max_tokens=2000, logit_bias=NEVER_ENDING)
    until(lambda: len(server.runtime.processes()) > before and server.runtime.processes()[0].state.ended)


NEVER_ENDING = {str(token): -100 for token in range(3)}


def test_sixty_four_streams(server: Server[Runtime]) -> None:
    async def one(client: openai.AsyncOpenAI, index: int) -> str:
        text = ""
        options: Any = {"model": "tiny", "messages": HELLO, "temperature": 0, "max_tokens": 8, "stream": True}
        async for chunk in await client.chat.completions.create(**options):
            text += chunk.choices[0].delta.content or ""
        return text

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
            return await asyncio.gather(*(one(client, index) for index in range(64)))

    texts = asyncio.run(all_of_them())
    assert len(set(texts)) == 1
    assert GREETING.startswith(texts[0])


# ---- a program of the operator's own
OWN = """
from lip import emit, main


@main
async def app(route: str, request: dict) -> object:
    what = request["messages"][0]["content"]
    if what == "stream":
        emit('{"id": "1", "object": "x", "created": 1, "model": "m", "choices": []}\\n')
        raise ValueError("in the middle")
    if what == "nonsense":
        return {"status": "fine"}
    if what == "refuse":
        return {"status": 418, "body": {"error": {"message": "tea", "type": "t", "param": None, "code": "c"}}}
    raise ValueError("no such luck")
"""


def test_a_program_of_ones_own_and_its_faults(tmp_path: Path) -> None:
    from symphony.engine.fake import FakeEngine

    own = tmp_path / "own.py"
    own.write_text(OWN)
    with (
        Server(Runtime([FakeEngine()], home=tmp_path / "home", config=Config(openai=own))) as server,
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client,
    ):

        def ask(what: str, **options: Any) -> Any:
            return chat(client, [{"role": "user", "content": what}], **options)

        for what, words in (("fail", "no such luck"), ("nonsense", "contract")):
            with pytest.raises(openai.InternalServerError, match=words):
                ask(what)
        with pytest.raises(openai.APIStatusError, match="tea") as refused:
            ask("refuse")
        assert refused.value.status_code == 418
        with pytest.raises(openai.APIError, match="in the middle"):
            list(ask("stream", stream=True))
