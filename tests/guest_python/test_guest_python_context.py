"""Context: the buffer, turns by the template, predictions, generations, forks, failures."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from fake_host import STOP, FakeHost, chatml, decode, encode

Run = Callable[..., Any]
HEAD = "<|im_start|>system\nBe brief.<|im_end|>\n"
HI = "<|im_start|>user\nHi<|im_end|>\n"
REPLY = "<|im_start|>assistant\n"


def test_turns_are_computed_with_the_generation(lip: Any, host: FakeHost, run: Run) -> None:
    host.replies = ["Hello"]

    async def app() -> Any:
        async with lip.Context() as ctx:
            ctx.system("Be brief.").user("Hi")
            assert host.fed == []
            return await ctx.generate(max_tokens=9, temperature=0.5, stop=["\n\n", 7])

    out = run(app())
    assert (out.text, out.finish_reason, out.stop) == ("Hello", "stop-token", STOP)
    assert out.tokens == [*encode("Hello", False), STOP]
    assert host.fed == [HEAD + HI + REPLY]
    options = host.options[0]
    assert (options.max_tokens, options.stop_strings, options.stop_tokens) == (9, ["\n\n"], [7, STOP])
    assert options.sampling.temperature == 0.5
    assert host.files[0].closed
    assert host.open_pollables == 0


def test_the_next_turn_feeds_only_what_follows(lip: Any, host: FakeHost, run: Run) -> None:
    host.replies = ["Hello", "Bye"]

    async def app() -> str:
        ctx = lip.Context()
        ctx.system("Be brief.").user("Hi")
        await ctx.generate()
        ctx.user("More")
        await ctx.generate()
        return decode(ctx.tokens())

    text = run(app())
    assert host.fed[1] == "\n<|im_start|>user\nMore<|im_end|>\n" + REPLY
    assert text == HEAD + HI + REPLY + "Hello<|im_end|>\n<|im_start|>user\nMore<|im_end|>\n" + REPLY + "Bye<|im_end|>"


def test_a_reply_without_stop_token_is_closed_by_the_template(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> str:
        ctx = lip.Context()
        ctx.system("Be brief.").user("Hi").feed("Sure")
        await ctx.pred("!")
        ctx.user("More")
        await ctx.flush()
        return decode(ctx.tokens())

    assert run(app()) == HEAD + HI + REPLY + "Sure!<|im_end|>\n<|im_start|>user\nMore<|im_end|>\n"


def test_where_the_template_changes_its_mind_the_file_is_cut_back(lip: Any, host: FakeHost, run: Run) -> None:
    host.render = lambda c: chatml({**c, "messages": [{**m, "content": m["content"].strip()} for m in c["messages"]]})
    host.replies = ["  Hello  "]

    async def app() -> str:
        ctx = lip.Context()
        ctx.system("Be brief.").user("Hi")
        await ctx.generate()
        ctx.user("More")
        await ctx.flush()
        return decode(ctx.tokens())

    assert run(app()) == HEAD + HI + REPLY + "Hello<|im_end|>\n<|im_start|>user\nMore<|im_end|>\n"


def test_an_empty_reply_leaves_no_turn(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> str:
        ctx = lip.Context()
        ctx.system("Be brief.").user("Hi")
        await ctx.pred()
        assert decode(ctx.tokens()).endswith(REPLY)
        ctx.user("Hi")
        await ctx.flush()
        return decode(ctx.tokens())

    assert run(app()) == HEAD + HI + HI


def test_truncate_to_a_turn_goes_on_from_there(lip: Any, host: FakeHost, run: Run) -> None:
    host.replies = ["One", "Two"]

    async def app() -> str:
        ctx = lip.Context()
        ctx.system("Be brief.")
        start = len(ctx)
        assert start == len(encode(HEAD, True))
        ctx.user("Hi")
        await ctx.generate()
        ctx.truncate(start)
        ctx.user("Hi")
        await ctx.generate()
        return decode(ctx.tokens())

    assert run(app()) == HEAD + HI + REPLY + "Two<|im_end|>"


def test_a_conversation_goes_on_from_a_saved_file(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> str:
        async with lip.Context() as ctx:
            ctx.system("Be brief.")
            await ctx.save("/brief")
        async with lip.Context.open("/brief") as ctx:
            ctx.user("Hi")
            await ctx.flush()
            return decode(ctx.tokens())

    assert run(app()) == HEAD + HI
    assert lip.fs.exists("/brief")
    assert not lip.fs.exists("/other")


def test_length_and_tokens_count_the_buffer_and_fork_carries_it(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context()
        ctx.feed("abc")
        await ctx.flush()
        ctx.feed([100, 101])
        child = ctx.fork()
        child.feed("!")
        assert (len(ctx), len(child)) == (5, 6)
        assert decode(child.tokens(2, 6)) == "cde!"
        assert decode(child.tokens(4)) == "e!"
        child.truncate(4)
        assert decode(child.tokens()) == "abcd"
        child.truncate(1)
        assert decode(child.tokens()) == "a"
        assert decode(ctx.tokens()) == "abcde"
        with pytest.raises(lip.Invalid, match="has 5 tokens"):
            ctx.truncate(6)
        with pytest.raises(lip.Invalid, match="outside"):
            ctx.tokens(3, 9)

    run(app())
    assert host.fed == ["abc"]


async def choose(ctx: Any, count: int) -> list[int]:
    ids = [token := (await ctx.pred("abc", top_k=4)).argmax()]
    for _ in range(count):
        ids.append(token := (await ctx.pred(token, top_k=4)).argmax())
    return ids


def test_a_token_chosen_by_the_program_costs_one_call(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> list[int]:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(lip.sleep(0), 100)  # its timer stays in the loop's heap, but nobody waits for it
        host.calls.clear()
        return await choose(lip.Context(), 10)

    assert run(app()) == [65] * 11
    assert +host.calls == {"predict": 11}


def test_while_something_else_can_happen_a_prediction_is_polled(lip: Any, host: FakeHost, run: Run) -> None:
    seen: list[str] = []

    async def tick() -> None:
        await lip.sleep(0)
        seen.append("tick")

    async def app() -> list[list[int]]:
        async with asyncio.timeout(100):
            timed = await choose(lip.Context(), 2)
        assert +host.calls == {"pred": 3, "poll": 3, "get": 3}
        other = asyncio.create_task(tick())
        beside = await choose(lip.Context(), 2)
        seen.append("chosen")
        await other
        host.polled.clear()
        both = await asyncio.gather(choose(lip.Context(), 2), choose(lip.Context(), 2))
        return [timed, beside, *both]

    assert run(app()) == [[65] * 3] * 4
    assert seen == ["tick", "chosen"]
    assert max(host.polled) == 2, "both were in flight at once"


def test_a_prediction_that_suspends_the_program_is_timed_out_and_cancelled_like_any(
    lip: Any, host: FakeHost, run: Run
) -> None:
    async def app() -> None:
        ctx = lip.Context()
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ctx.pred("abc")
        task.uncancel()
        assert host.files[0].ids == []
        await ctx.pred("abc")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(-1):
                await ctx.pred("d")
        assert decode(host.files[0].ids) == "abc"
        host.failures = [host.error("NO_SPACE", "out of pages")]
        with pytest.raises(lip.NoSpace, match="out of pages"):
            await ctx.pred("e")

    run(app())
    assert host.calls["predict"] == 2


def test_readings_must_be_named(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context()
        dist = await ctx.pred("a")
        assert dist.argmax() == 65
        with pytest.raises(lip.Invalid, match=r"pred\(\.\.\., top_k=3\)"):
            dist.top_k(3)
        with pytest.raises(lip.Invalid, match="entropy=True"):
            dist.entropy()
        with pytest.raises(lip.Invalid, match="sample=True"):
            _ = dist.sampled
        with pytest.raises(lip.Invalid, match=r"logprobs=\[9\]"):
            dist.logprob(9)
        dist = await ctx.pred("b", top_k=2, sample={"temperature": 0.3, "seed": -1}, logprobs=[5, 9], entropy=True)
        assert dist.top_k(2) == [(65, pytest.approx(0.5)), (66, pytest.approx(0.25))]
        assert (dist.sampled, dist.entropy(), dist.logprob(9), dist.logprob([9, 5])) == (66, 1.5, -9.0, [-9.0, -5.0])
        assert host.readings[-1].sample.seed == 2**64 - 1
        many = await ctx.pred("xyz", every=True)
        assert len(many) == 3
        with pytest.raises(lip.Invalid, match="tempurature"):
            await ctx.pred("c", sample={"tempurature": 1})

    run(app())


def test_a_failed_operation_keeps_the_buffer(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context()
        ctx.feed("abc")
        host.failures = [host.error("NO_SPACE", "out of pages")]
        with pytest.raises(lip.NoSpace, match="out of pages") as caught:
            await ctx.flush()
        assert caught.value.hint == "do this"
        host.failures = [host.error("NO_SPACE", "out of pages")]
        with pytest.raises(lip.NoSpace):
            await ctx.generate()
        assert len(ctx) == 3
        await ctx.flush()
        assert len(ctx) == 3

    run(app())
    assert host.fed == ["abc", "abc", "abc"]


def test_leaving_a_stream_stops_the_model(lip: Any, host: FakeHost, run: Run) -> None:
    host.replies = ["abcdef"]

    async def app() -> str:
        ctx = lip.Context()
        ctx.feed("x")
        async for chunk in ctx.stream(chunk_tokens=2):
            assert chunk.text == "ab"
            break
        return decode(ctx.tokens())

    assert run(app()) == "xab"
    assert len(host.dropped) == 1


def test_a_stream_sums_up(lip: Any, host: FakeHost, run: Run) -> None:
    host.replies = ["abcd"]

    async def app() -> Any:
        ctx = lip.Context()
        ctx.feed("x")
        stream = ctx.stream()
        texts = [chunk.text async for chunk in stream]
        return texts, stream.completion()

    texts, whole = run(app())
    assert texts == ["ab", "cd", ""]
    assert (str(whole), whole.finish_reason) == ("abcd", "stop-token")


def test_cancelling_drops_the_handle(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx, other = lip.Context(), lip.Context()
        task = asyncio.create_task(ctx.pred("abc"))
        await asyncio.sleep(0)
        assert host.files[0].busy is not None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert host.files[0].ids == []
        await other.pred("x")

    run(app())
    assert len(host.dropped) == 2


def test_a_busy_file_says_so(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context()
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.pred("a"))
            await asyncio.sleep(0)
            with pytest.raises(lip.Busy):
                await ctx.pred("b")

    run(app())


def test_sampling_arguments_are_checked(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> None:
        ctx = lip.Context()
        ctx.feed("x")
        with pytest.raises(lip.Invalid, match="'temprature' is not a sampling argument"):
            await ctx.generate(temprature=1)
        with pytest.raises(lip.Invalid, match="top_k='many'"):
            await ctx.generate(top_k="many")
        with pytest.raises(lip.Invalid, match="not understood"):
            await ctx.generate(stop=[1.5])
        with pytest.raises(lip.Invalid, match="a user turn is text"):
            ctx.user(["hi"])
        with pytest.raises(lip.NotFound, match="no model big"):
            lip.Context(model="big")

    run(app())


def test_tools_and_output(lip: Any, host: FakeHost, run: Run) -> None:
    async def app() -> Any:
        lip.emit(3)
        with pytest.raises(lip.NotFound, match="there is: add"):
            await lip.tool("sub", a=1)
        with pytest.raises(lip.Invalid, match="not JSON values"):
            await lip.tool("add", a={1}, b=2)
        return await lip.tool("add", a=1, b=2)

    assert run(app()) == 3
    assert host.emitted == ["3"]
    assert [tool.name for tool in lip.tools()] == ["add"]
    assert host.open_pollables == 0
