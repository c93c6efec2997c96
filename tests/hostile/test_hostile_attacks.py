"""Programs that try to take more than their share, to break the host's own code, or to leave something behind."""

from __future__ import annotations

import gc
import json
import threading
from typing import Any

import pytest
from hostile_host import HEALTHY, QUESTION, Host, lip, until

from program.program_guests import wasm
from sandbox.sandbox_guests import guest
from symphony.errors import Cancelled, Invalid, LimitExceeded, ProgramError
from symphony.kvfs import names
from symphony.param import MAX_ERROR_CHARS, MAX_LOG_BYTES, MAX_OUTPUT_BACKLOG, MAX_PATH_BYTES, MAX_RESULT_BYTES
from symphony.process.process import LaunchOptions

EMPTY_POLL = guest(
    "(call $poll (i32.const 0) (i32.const 0) (i32.const 128)) (call $number (i32.const 1))",
    """(import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))""",
    '(core func $poll (canon lower (func $poll "poll") (memory $mem) (realloc $realloc)))',
    '(import "host" "poll" (func $poll (param i32 i32 i32)))',
)
FORGED = guest(
    """(i32.store (i32.const 64) (call $parse (local.get $p) (local.get $n)))
    (call $poll (i32.const 64) (i32.const 1) (i32.const 128)) (call $number (i32.const 1))""",
    """(import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))""",
    '(core func $poll (canon lower (func $poll "poll") (memory $mem) (realloc $realloc)))',
    '(import "host" "poll" (func $poll (param i32 i32 i32)))',
)


def says(text: str, case: str = "ok") -> bytes:
    """A component whose `run` answers with `text`, written as a WAT string."""
    size = len(text.encode().decode("unicode_escape")) if "\\" in text else len(text)
    extra = f'(data (i32.const 1024) "{text}")'
    return wasm(guest(f"(call ${case} (i32.const 1024) (i32.const {size}))", extra=extra))


def repeats(character: str, count: int, case: str = "ok") -> bytes:
    """A component that answers with `count` times one character."""
    pages = (count >> 16) + 4
    return wasm(
        guest(
            f"""(drop (memory.grow (i32.const {pages})))
            (memory.fill (i32.const 131072) (i32.const {ord(character)}) (i32.const {count}))
            (call ${case} (i32.const 131072) (i32.const {count}))"""
        )
    )


# ---- predictions that suspend their guest ---------------------------------------------------------------------------
def test_predict_is_refused_like_pred_and_goes_on(host: Host) -> None:
    """Busy, bad arguments, a file whose cancelled operation is still on the device, and many distributions at once."""
    body = """
    ctx = Context()
    file, infer = ctx._file, _host.infer
    last, plain = infer.Outputs_Last(), infer.Readings(None, 1, None, False, None)
    codes = []

    def attempt(tokens, outputs=last, readings=plain):
        try:
            infer.predict(file, tokens, outputs, readings)
        except _host.Err as error:
            codes.append(error.value.code.name)

    attempt([])
    ctx.feed([1])
    running = ctx.stream(max_tokens=9, stop_tokens=[])  # in flight until its last chunk is taken
    attempt([1])
    running.close()
    file.truncate(0)
    attempt([1 << 31])
    attempt([1], infer.Outputs_At([5]))
    attempt([1], last, infer.Readings(None, 5000, None, False, None))
    attempt([1], last, infer.Readings(infer.Sampling(-1.0, *[None] * 8), None, None, False, None))
    running = infer.pred(file, [1], last, plain)
    running.__exit__(None, None, None)
    many = infer.predict(file, list(range(250)), infer.Outputs_Every(), infer.Readings(None, 8, None, True, None))
    none = infer.predict(file, [], infer.Outputs_None_(), plain)
    again = infer.predict(file, [], last, plain)
    return [codes, [d.top.ids[0] for d in many], len(many[9].top.values), len(none), again[0].top.ids, file.length()]
    """
    codes, best, values, none, again, length = host.result(lip(body))
    assert codes == ["INVALID", "BUSY", "INVALID", "INVALID", "INVALID", "INVALID"]
    given = [1] * (length - 250)  # the one that was dropped may have been over by then
    assert len(given) <= 1
    expected = [host.engine.greedy([*given, *range(i + 1)]) for i in range(250)]
    assert (best, values, none, again) == (expected, 8, 0, expected[-1:])


def test_a_file_given_to_predict_may_not_be_forged_or_gone(host: Host) -> None:
    body = """
    ctx = Context()
    file, infer = ctx._file, _host.infer
    ctx.close()
    infer.predict(file, [1], infer.Outputs_Last(), infer.Readings(None, 1, None, False, None))
    """
    assert isinstance(host.error(lip(body)), ProgramError)


# ---- handles, operations, pages -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "body",
    [
        "held = [Context() for _ in range(2000)]",
        "ctx = Context()\nctx.feed('x' * 40)\nawait ctx.flush()\nheld = [ctx.fork() for _ in range(2000)]",
        "held = [_host.clock.subscribe_duration(10 ** 18) for _ in range(2000)]",
        "model = _host.model.Model.open(None)\nheld = [model.decoder() for _ in range(2000)]",
        "held = [_host.model.Model.open(None) for _ in range(2000)]",
        "ctx = Context()\nheld = [ctx._file.idle() for _ in range(2000)]",
    ],
)
def test_more_handles_than_there_may_be(body: str, host: Host) -> None:
    error = host.error(lip(body))
    assert isinstance(error, LimitExceeded), error
    assert "handles" in error.message
    assert error.hint


def test_more_operations_in_flight_than_there_may_be(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.engine, "_step_seconds", 0.1)
    body = """
    contexts = [Context() for _ in range(70)]
    running, refused = [], []
    readings = _host.infer.Readings(None, 1, None, False, None)
    for i, ctx in enumerate(contexts):
        try:
            running.append(call(_host.infer.pred, ctx._file, [i + 1] * 20, _host.infer.Outputs_Last(), readings))
        except LimitExceeded as e:
            refused.append(e.message)
    for ctx in contexts:
        _host.poll.poll([ctx._idle])
    return [len(running), refused, [p.get().value[0].top.ids[0] for p in running]]
    """
    running, refused, answers = host.result(lip(body))
    assert (running, len(refused)) == (64, 6)
    assert "64 operations in flight" in refused[0]
    assert answers == [host.engine.greedy([i + 1] * 20) for i in range(64)]


def test_dropping_predictions_at_once(host: Host) -> None:
    body = """
    readings = _host.infer.Readings(None, 1, None, False, None)
    ctx = Context()
    for i in range(2000):
        prediction = _host.infer.pred(ctx._file, [7] * 20, _host.infer.Outputs_Last(), readings)
        prediction.__exit__(None, None, None)
        if i % 100 == 0:
            await sleep(0.0001)
        assert len(ctx) in (0, 20)  # 20: it was complete
        ctx.truncate(0)
    return (await ctx.pred("x")).argmax()
    """
    assert host.result(lip(body)) == host.engine.greedy(b"x")


def test_thousands_of_forks(host: Host) -> None:
    body = """
    async with Context() as ctx:
        ctx.feed("x" * 40)
        await ctx.flush()
        for i in range(4000):
            with_fork = ctx.fork()
            with_fork.truncate(i % 41)
            with_fork.close()
        branches = [ctx.fork() for _ in range(100)]
        dists = await asyncio.gather(*(b.pred(i) for i, b in enumerate(branches)))
        return [d.argmax() for d in dists]
    """
    tokens = list(b"x" * 40)
    assert host.result(lip(body)) == [host.engine.greedy([*tokens, i]) for i in range(100)]


def test_a_chain_of_forks_each_of_the_last(host: Host) -> None:
    body = """
    ctx = Context()
    answers = []
    for i in range(300):
        answers.append((await ctx.pred(i % 7)).argmax())
        after = ctx.fork()
        ctx.close()
        ctx = after
    return answers
    """
    tokens = [i % 7 for i in range(300)]
    assert host.result(lip(body)) == [host.engine.greedy(tokens[: i + 1]) for i in range(300)]


def test_more_pages_than_there_are(host: Host) -> None:
    body = """
    contexts, refused = [], None
    try:
        for i in range(30):
            ctx = Context()
            contexts.append(ctx)
            ctx.feed([i] * 1000)
            await ctx.flush()
        readings = [c.pred(1) for c in contexts]
        await asyncio.gather(*readings)
    except NoSpace as e:
        refused = e.message
    return refused
    """
    host.result(lip(body))  # files may be dropped and computed again: what must hold is in the fixture


# ---- output, log, results ------------------------------------------------------------------------------------------
def test_more_output_than_there_may_be(host: Host) -> None:
    body = """
    sent = 0
    try:
        while True:
            emit("x" * (1 << 20))
            sent += 1
    except LimitExceeded as e:
        return [sent, e.message, e.hint]
    """
    sent, message, hint = host.result(lip(body))
    assert sent == 63
    assert "67108864" in message
    assert hint


def test_one_piece_of_output_that_is_too_large(host: Host) -> None:
    error = host.error(lip("emit('x' * ((1 << 20) + 1))"))
    assert isinstance(error, ProgramError)
    assert "LimitExceeded" in error.message
    assert "pieces" in error.hint


def test_empty_output_leaves_no_event(host: Host) -> None:
    async def scenario() -> None:
        process = await host.runtime.spawn(lip("for _ in range(5000): emit('')"))
        await process.wait()
        assert [e.kind async for e in process.events()] == ["start", "result"]

    host.run(scenario())


def test_pieces_of_output_cost_what_keeping_them_costs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.process.events.MAX_OUTPUT_BYTES", 25_700)
    body = "n = 0\ntry:\n    while True:\n        emit('x')\n        n += 1\nexcept LimitExceeded:\n    return n"
    assert host.result(lip(body)) == 100


def test_a_flood_of_log_lines_is_dropped_and_counted(host: Host) -> None:
    async def scenario() -> None:
        body = "for i in range(20000):\n    log('x' * 200)\n    print('y' * 100)\nprint('z' * (3 << 20))"
        process = await host.runtime.spawn(lip(body))
        await process.wait()
        lines = [e.data["text"] async for e in process.events() if e.kind == "log"]
        assert sum(map(len, lines)) <= MAX_LOG_BYTES + 100
        assert lines[-1].endswith("log lines were dropped")

    host.run(scenario())


def test_enormous_arguments(host: Host) -> None:
    with pytest.raises(LimitExceeded, match=r"arguments have .* bytes, at most 1048576"):
        host.result(lip("return len(x)", "x: str"), x="a" * (1 << 20))
    assert host.result(lip("return len(x)", "x: str"), x="a" * ((1 << 20) - 100)) == (1 << 20) - 100


def test_enormous_results(host: Host) -> None:
    size = MAX_RESULT_BYTES - 2
    assert len(host.result(lip("return 'x' * n", "n: int"), n=size)) == size
    for program in (lip("return 'x' * ((16 << 20) - 1)"), repeats("1", (16 << 20) + 1)):
        error = host.error(program)
        assert isinstance(error, ProgramError)
        assert "at most 16777216" in error.message


@pytest.mark.parametrize(
    "program",
    [repeats("\n", 64 << 20, "err"), repeats("x", 64 << 20, "err"), lip("raise ValueError('x' * (40 << 20))")],
)
def test_enormous_errors_are_cut(program: Any, host: Host) -> None:
    error = host.error(program)
    assert isinstance(error, ProgramError)
    assert len(error.message) <= MAX_ERROR_CHARS + 100
    assert len(error.traceback) <= MAX_ERROR_CHARS + 100


def test_the_memory_of_ended_processes_is_bounded(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.process.records.MAX_FINISHED_BYTES", 1 << 20)

    async def scenario() -> None:
        for _ in range(6):
            await host.runtime.run(lip("emit('x' * 200000)\nreturn 'y' * 200000"))
        kept = [p for p in host.runtime.processes() if p.output]
        assert len(kept) == 2

    host.run(scenario())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "{",
        "NaN",
        "[1, Infinity]",
        "-Infinity",
        "1e999",
        "[1,]",
        "'x'",
        "nul",
        "1 2",
        "[" * 60000,
        '\\"\\00\\"',
    ],
)
def test_a_result_that_is_not_json(text: str, host: Host) -> None:
    error = host.error(says(text))
    assert isinstance(error, ProgramError)
    assert "result is not JSON" in error.message
    assert error.hint


def test_a_result_with_a_number_of_a_million_digits(host: Host) -> None:
    error = host.error(repeats("1", 1_000_000))
    assert isinstance(error, ProgramError)
    assert "not JSON" in error.message


@pytest.mark.parametrize("case", ["ok", "err"])
def test_an_answer_that_is_not_unicode(case: str, host: Host) -> None:
    text, size = "\\ff\\fe\\80", 3
    program = wasm(
        guest(f"(call ${case} (i32.const 1024) (i32.const {size}))", extra=f'(data (i32.const 1024) "{text}")')
    )
    error = host.error(program)
    assert isinstance(error, ProgramError)
    assert "utf-8" in error.message.lower()


def test_an_answer_that_points_outside_memory(host: Host) -> None:
    for place, size in ((0x7FFFFFFF, 10), (1024, 0x7FFFFFFF), (0xFFFFFFF0 - (1 << 32), 0x20)):
        assert isinstance(host.error(wasm(guest(f"(call $ok (i32.const {place}) (i32.const {size}))"))), ProgramError)


# ---- text that is not text, JSON that is too deep ------------------------------------------------------------------
def test_lone_surrogates_everywhere(host: Host) -> None:
    body = """
    bad = "a\\ud800b"
    emit(bad)
    log(bad)
    print(ascii(bad))
    ctx = Context()
    ctx.feed(bad)
    ctx.user(bad)
    await ctx.save("/" + bad)
    names = [e.name for e in fs.ls("/")]
    fs.unlink("/" + bad)
    return [bad, {bad: text}, names]
    """

    async def scenario() -> None:
        process = await host.runtime.spawn(lip(body, "text: str"), text="\udfff")
        assert await process.wait() == ["a\ud800b", {"a\ud800b": "\udfff"}, ["a?b"]]
        assert process.output == "a?b"

    host.run(scenario())


def test_an_error_with_lone_surrogates(host: Host) -> None:
    assert "a?b" in host.error(lip("raise ValueError('a\\ud800b')")).message


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [100, 400, 800])
def test_deep_arguments_arrive_or_are_refused(depth: int, host: Host) -> None:
    body = "depth = 0\nwhile isinstance(x, list):\n    x, depth = x[0], depth + 1\nreturn depth"
    program = lip(body, "x: list")
    try:
        assert host.result(program, x=nested(depth)) == depth
        return
    except ProgramError as e:
        refused = str(e)
    assert depth > 100  # a guest's stack is smaller than ours
    assert "recursion" in refused or "stack" in refused


def test_arguments_too_deep_for_the_host(host: Host) -> None:
    with pytest.raises(Invalid, match="not JSON"):
        host.result(HEALTHY, question=nested(50_000))


@pytest.mark.parametrize(
    "text",
    [
        "'[' * 200000",
        """'{"messages":' + '[' * 100000""",
        """'{"messages":[' + '{"content":' * 50000""",
        "'1'",
        "'{}'",
        "'null'",
        """'{"messages": 3}'""",
        """'{"messages": {}}'""",
        "''",
        "'1' * 100000",
        """'{"messages": [], "x": NaN}'""",
    ],
)
def test_conversations_that_are_none(text: str, host: Host) -> None:
    body = f"""
    try:
        call(_host.model.Model.open(None).render_chat, {text})
    except Error as e:
        return [type(e).__name__, e.message, e.hint]
    """
    kind, message, hint = host.result(lip(body))
    assert kind == "Invalid"
    assert "conversation" in message
    assert hint


@pytest.mark.parametrize(
    "conversation",
    [
        {"messages": [None, 1, "x", [], {}]},
        {"messages": [{"role": {"a": 1}, "content": [1, {"b": 2}]}]},
        {"messages": [{"role": "user", "content": nested(800)}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "user", "content": 10**300}]},
        {"messages": [], "self": 1, "raise_exception": 1, "range": 1, "tojson": 1, "name": "x"},
        {"messages": [], "template_name": "other", "source": "{{ 1 }}", "": 1, "\ud800": 1},
    ],
)
def test_conversations_of_odd_things_are_rendered_or_refused(conversation: Any, host: Host) -> None:
    body = """
    try:
        return call(_host.model.Model.open(None).render_chat, text)
    except (Invalid, LimitExceeded) as e:
        return e.message
    """
    answer = host.result(lip(body, "text: str"), text=json.dumps(conversation))
    assert isinstance(answer, str)
    assert answer or not conversation["messages"]


@pytest.mark.parametrize(("content", "count"), [(1_000_000, 8), (1, 100_000)])
def test_conversations_that_take_too_long(content: int, count: int, host: Host) -> None:
    body = f"""
    conversation = {{"messages": [{{"role": "user", "content": "x" * {content}}}] * {count}}}
    try:
        call(_host.model.Model.open(None).render_chat, json.dumps(conversation))
    except LimitExceeded as e:
        return e.message
    """
    assert "conversation" in host.result(lip(body)) or "template" in host.result(lip(body))


def test_templates_in_the_content_are_text(host: Host) -> None:
    attack = "{{ 7 * 7 }}{% for i in range(9) %}x{% endfor %}{{ raise_exception('x') }}{# y #}"
    body = """
    conversation = {"messages": [{"role": "user", "content": attack}], "add_generation_prompt": True}
    return call(_host.model.Model.open(None).render_chat, json.dumps(conversation))
    """
    assert host.result(lip(body, "attack: str"), attack=attack).startswith(f"<|im_start|>user\n{attack}<|im_end|>\n")


# ---- values out of range -------------------------------------------------------------------------------------------
REFUSED = {
    "await ctx.pred([259])": "outside the vocabulary",
    "await ctx.pred([4294967295])": "outside the vocabulary",
    "await ctx.pred([1] * 1025)": "context of 1024",
    "await ctx.pred([1] * 2_000_000)": "context of 1024",
    "await ctx.pred()": "empty",
    "await ctx.pred(1, top_k=0)": "top-k is 0",
    "await ctx.pred(1, top_k=1025)": "top-k is 1025",
    "await ctx.pred(1, logprobs=[999])": "outside the vocabulary",
    "await ctx.pred(1, logprobs=[1] * 1_000_000)": "logprobs: 1000000 tokens",
    "await ctx.pred(1, sample={'temperature': float('nan')})": "temperature is nan",
    "await ctx.pred(1, sample={'temperature': float('inf')})": "temperature is inf",
    "await ctx.pred(1, sample={'temperature': -1})": "temperature is -1",
    "await ctx.pred(1, sample={'temperature': 1, 'top_p': float('nan')})": "top-p is nan",
    "await ctx.pred(1, sample={'temperature': 1, 'min_p': 2})": "min-p is 2",
    "await ctx.pred(1, sample={'repetition_penalty': 0})": "repetition-penalty is 0",
    "await ctx.pred(1, sample={'logit_bias': {1: float('nan')}})": "logit-bias",
    "await ctx.pred(1, sample={'logit_bias': {999: 1.0}})": "outside the vocabulary",
    "await ctx.pred(1, sample={'logit_bias': dict.fromkeys(range(300_000), 1.0)})": "logit-bias: 300000 tokens",
    "await ctx.pred(1, sample={'colour': 1})": "'colour' is not a sampling argument",
    "call(_host.infer.pred, ctx._file, [1], _host.infer.Outputs_At([1]), "
    "_host.infer.Readings(None, 1, None, False, None))": "index 1 is outside",
    "call(_host.infer.pred, ctx._file, [1], _host.infer.Outputs_At([4294967295]), "
    "_host.infer.Readings(None, 1, None, False, None))": "outside",
    "call(_host.infer.pred, ctx._file, [1], _host.infer.Outputs_Last(), _host.infer.Readings(_host.infer.Sampling("
    "None, None, None, None, None, None, None, _host.types.Ranked([1, 2], [1.0]), None), 1, None, False, None))":
        "one finite value for each id",
    "await ctx.generate(stop_tokens=[999])": "outside the vocabulary",
    "await ctx.generate(stop='')": "empty stop string",
    "await ctx.generate(stop=['a' * 10] * 100_000)": "stop-strings: 100000 of",
    "await ctx.generate(stop='a' * 1025)": "stop-strings: 1 of up to 1025",
    "await ctx.generate(stop_tokens=[1] * 1_000_000)": "stop-tokens: 1000000 tokens",
    "await ctx.generate(logprobs=2000)": "logprobs",
    "await ctx.stream(chunk_tokens=0).__anext__()": "chunk-tokens is 0",
    "await ctx.stream(chunk_tokens=257).__anext__()": "chunk-tokens is 257",
    "decode([259])": "outside the vocabulary",
    "call(_host.model.Model.open(None).decoder().push, [259])": "outside the vocabulary",
    "ctx.truncate(1)": "truncate(1)",
    "call(ctx._file.truncate, 1)": "",
    "call(ctx._file.truncate, 4294967295)": "",
    "call(ctx._file.tokens, _host.types.Span(0, 1))": "outside the file",
    "call(ctx._file.tokens, _host.types.Span(4294967295, 0))": "outside the file",
}  # fmt: skip


@pytest.mark.parametrize("call", REFUSED)
def test_values_out_of_range(call: str, host: Host) -> None:
    feed = "" if call.startswith(("await ctx.pred(", "ctx.truncate", "call(ctx")) else 'ctx.feed("x")'
    body = f"""
    ctx = Context()
    {feed}
    before = len(ctx)
    try:
        {call}
    except Error as e:
        found = type(e).__name__, e.message
    except (OverflowError, TypeError, ValueError) as e:
        found = "in the guest", str(e)
    assert len(ctx) == before
    return [*found, (await ctx.pred([7])).argmax()]
    """
    kind, message, answer = host.result(lip(body))
    assert kind in ("Invalid", "LimitExceeded", "in the guest")
    assert REFUSED[call] in message, message
    assert answer == host.engine.greedy([*(b"x" if feed else b""), 7])


@pytest.mark.parametrize(
    "call",
    [
        "ctx.pred([-1])", "ctx.pred([1 << 40])", "ctx.pred(1, top_k=-1)", "ctx.pred(1, top_k=1 << 32)",
        "ctx.generate(max_tokens=-1)", "ctx.generate(max_tokens=1 << 40)", "ctx.pred(1, logprobs=[-1])",
    ],
)  # fmt: skip
def test_numbers_that_do_not_fit_their_type_are_invalid(call: str, host: Host) -> None:
    error = host.error(lip(f"ctx = Context()\nctx.feed('x')\nawait {call}"))
    assert isinstance(error, ProgramError)
    assert "Invalid" in error.message


def test_huge_counts_that_mean_no_limit(host: Host) -> None:
    body = """
    ctx = Context()
    ctx.feed("x" * 900)
    out = await ctx.generate(max_tokens=4294967295, stop_tokens=[], temperature=1.0, top_k=4294967295, seed=-1)
    return [out.finish_reason, len(ctx)]
    """
    assert host.result(lip(body)) == ["context-limit", 1024]


def test_nothing_to_generate(host: Host) -> None:
    body = (
        "ctx = Context()\nctx.feed('x')\nout = await ctx.generate(max_tokens=0)\nreturn [out.finish_reason, out.tokens]"
    )
    assert host.result(lip(body)) == ["length", []]


@pytest.mark.parametrize(
    "path",
    [
        "", "x", "/../x", "/a/../x", "/..", "/.", "//", "/a//b", "/a/", "/a\0b", "/\0", "/a\nb", "/\x7f", "a/../../etc",
        "/" + "n" * 4096, "/a" * 40, "/" + "\u00e9" * 600, "/" + "e\u0301\u0323" * 10_000, "\\windows", "/",
    ],
)  # fmt: skip
def test_paths_that_are_none(path: str, host: Host) -> None:
    body = """
    found = []
    ctx = Context()
    ctx.feed("x")
    async def save(): await ctx.save(path)
    await ctx.flush()
    await ctx.save("/good")
    for action in (
        lambda: call(ctx._file.save, path, True), lambda: Context.open(path), lambda: Context.open(path, create=True),
        lambda: fs.stat(path), lambda: fs.rename("/good", path), lambda: fs.rename(path, "/other"),
        lambda: fs.unlink(path),
    ):
        try:
            action()
            found.append(["accepted", ""])
        except Error as e:
            found.append([type(e).__name__, e.hint])
    names = [e.name for e in fs.ls("/")]
    fs.unlink("/good")
    return [found, names]
    """
    found, names = host.result(lip(body, "path: str"), path=path)
    assert names == ["good"]
    assert all(kind in ("Invalid", "Exists") and hint for kind, hint in found), found


def test_the_length_of_a_path_is_looked_at_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalising takes time with the square of a run of combining marks: 200 KB are a minute of the event loop."""
    real, sizes = names.unicodedata.normalize, [0]

    def normalize(form: Any, text: str) -> str:
        sizes.append(len(text))
        return real(form, text)

    monkeypatch.setattr(names.unicodedata, "normalize", normalize)
    host.result(lip("try:\n    fs.stat('/' + 'x' * 100_000)\nexcept Invalid:\n    pass"))
    assert max(sizes) <= MAX_PATH_BYTES


def test_names_that_only_look_dangerous_are_names(host: Host) -> None:
    body = """
    paths = ["/%2e%2e/x", "/~", "/$HOME", "/..a", "/a b", "/x;rm -rf", "/\\u202e", "/" + "\\u00e9" * 400]
    ctx = Context()
    ctx.feed("x")
    for path in paths:
        await ctx.save(path)
    for path in paths:
        assert fs.stat(path).length == 1
        fs.unlink(path)
    return fs.ls("/")
    """
    assert host.result(lip(body)) == []


# ---- the rules of Wasm ---------------------------------------------------------------------------------------------
def test_polling_nothing_ends_that_guest_alone(host: Host) -> None:
    assert isinstance(host.error(wasm(EMPTY_POLL)), ProgramError)
    assert isinstance(host.error(lip("_host.poll.poll([])")), ProgramError)


def test_forged_handles_trap(host: Host) -> None:
    assert isinstance(host.error(wasm(FORGED)), ProgramError)


# ---- clients and tools that do not cooperate -----------------------------------------------------------------------
def test_a_client_that_never_reads(host: Host) -> None:
    async def scenario() -> None:
        body = "for _ in range(40):\n    emit('x' * 100_000)\nreturn 1"
        process = await host.runtime.spawn(lip(body))
        reader = process.events()
        assert (await anext(reader)).kind == "start"
        await until(lambda: process.state.value == "blocked")
        assert len(process.output) <= MAX_OUTPUT_BACKLOG + 200_000
        assert await host.runtime.run(HEALTHY, question=QUESTION) == host.answer()
        await host.runtime.kill(process)
        with pytest.raises(Cancelled):
            await process.wait()
        await reader.aclose()
        leaving = await host.runtime.spawn(lip(body))
        reader = leaving.events()
        await anext(reader)
        await until(lambda: leaving.state.value == "blocked")
        await reader.aclose()
        assert await leaving.wait() == 1

    host.run(scenario())


@pytest.mark.parametrize("name", ["waits", "hangs"])
def test_a_tool_that_never_returns_while_its_process_is_killed(name: str, host: Host) -> None:
    async def scenario() -> None:
        body = f"await asyncio.gather(*(tool('{name}') for _ in range(20)))"
        process = await host.runtime.spawn(lip(body))
        await until(lambda: process.state.value == "blocked")
        assert await host.runtime.run(lip("return await tool('double', x=4)")) == 8  # 20 of them hold up nobody
        await host.runtime.kill(process)
        with pytest.raises(Cancelled):
            await process.wait()
        assert process.tool_calls() == 0

    host.run(scenario())


def test_more_tool_calls_than_there_may_be(host: Host) -> None:
    body = """
    held, refused = [], []
    for _ in range(70):
        try:
            held.append(call(_host.tool.call, "waits", "{}"))
        except LimitExceeded as e:
            refused.append(e.message)
    for one in held:
        one.__exit__(None, None, None)
    return [len(held), len(refused), refused[0]]
    """
    assert host.result(lip(body)) == [64, 6, "64 tool calls are in flight"]


def test_failing_calls_that_nobody_asks_about(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    body = "for _ in range(50):\n    held = call(_host.tool.call, 'fails_async', '{}')\n    await sleep(0.001)"
    host.result(lip(body))
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_program_cannot_outlive_its_cpu_limit_by_sleeping_in_between(host: Host) -> None:
    body = "while True:\n    for _ in range(20_000): pass\n    await sleep(0)"
    process = host.run(host.runtime.launch(lip(body), {}, LaunchOptions(cpu_seconds=0.3)))
    with pytest.raises(LimitExceeded, match="CPU"):
        host.run(process.wait())


def test_a_long_text_is_tokenized_while_others_run(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever is killed meanwhile leaves nothing."""
    tokenizer, leave, waiting = host.engine.tokenizer, threading.Event(), threading.Semaphore(0)
    real = tokenizer.encode

    def encode(text: str, special: bool) -> list[int]:
        if len(text) > 100_000:
            waiting.release()
            assert leave.wait(60)
        return real(text, special)

    async def scenario() -> None:
        body = "return len(encode('x' * 200_000))"
        slow, killed = await host.runtime.spawn(lip(body)), await host.runtime.spawn(lip(body))
        await until(lambda: slow.state.value == killed.state.value == "blocked")
        await until(lambda: waiting.acquire(blocking=False))
        assert await host.runtime.run(HEALTHY, question=QUESTION) == host.answer()
        await host.runtime.kill(killed)
        leave.set()
        assert await slow.wait() == 200_000

    with monkeypatch.context() as patch:
        patch.setattr(tokenizer, "encode", encode)
        host.run(scenario())
