"""`lip.testing`: programs against a scripted model, with no Wasm and no bindings."""

from __future__ import annotations

import asyncio
import enum
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture
def kit(plain: ModuleType) -> Any:
    return importlib.import_module("lip.testing")


def test_a_program_reads_replies_in_order(plain: Any, kit: Any) -> None:
    async def app(question: str, n: int = 2) -> list[str]:
        async with plain.Context() as ctx:
            ctx.system("Be brief.").user(question)
            first = await ctx.generate()
            ctx.user("And now?")
            plain.emit(first.text)
            return [first.text, (await ctx.generate(max_tokens=n)).text]

    host = kit.Host(["It is noon.", "It is five past."])
    assert host.run(app, question="What time is it?") == ["It is noon.", "It is"]
    assert host.output == "It is noon."
    assert host.prompts[0].endswith("user\nWhat time is it?<|im_end|>\n<|im_start|>assistant\n")
    assert "assistant\nIt is noon.<|im_end|>\n<|im_start|>user\nAnd now?" in host.prompts[1]


def test_arguments_are_checked_as_in_a_run(plain: Any, kit: Any) -> None:
    async def app(n: int) -> int:
        return n

    assert kit.Host().run(app, {"n": 3}) == 3
    with pytest.raises(importlib.import_module("lip._arguments").ArgumentError, match="must be a whole number"):
        kit.Host().run(app, n="three")


def test_exceptions_come_out_as_they_are(plain: Any, kit: Any) -> None:
    async def app() -> None:
        async with plain.Context() as ctx:
            ctx.user("Hello")
            await ctx.generate()

    with pytest.raises(plain.NoSpace, match="the device is full"):
        kit.Host([plain.NoSpace("the device is full")]).run(app)
    with pytest.raises(kit.ScriptError, match="is asked for reply 1, and the script has 0"):
        kit.Host().run(app)
    with pytest.raises(TypeError, match="a list of texts"):
        kit.Host("Hello")


def test_tools(plain: Any, kit: Any) -> None:
    def add(a: int, b: int) -> int:
        """Adds."""
        return a + b

    async def fail(why: str) -> None:
        await asyncio.sleep(0)
        raise ValueError(why)

    async def app() -> list[object]:
        found: list[object] = [[tool.name for tool in plain.tools()], plain.tools()[0].schema["required"]]
        found.append(await plain.tool("add", a=1, b=2))
        for name, arguments in (("fail", {"why": "no"}), ("add", {"a": 1}), ("sub", {})):
            try:
                await plain.tool(name, **arguments)
            except plain.Error as error:
                found.append(f"{error.code}: {error.message}")
        return found

    host = kit.Host(tools={"add": add, "fail": fail})
    assert host.run(app) == [
        ["add", "fail"],
        ["a", "b"],
        3,
        "unavailable: tool 'fail' failed: ValueError: no",
        "invalid: tool 'add': missing a required argument: 'b'",
        "not-found: there is no tool 'sub'; there are: add, fail",
    ]
    assert host.calls == [kit.ToolCall("add", {"a": 1, "b": 2}, 3), kit.ToolCall("fail", {"why": "no"})]


def test_fetching(plain: Any, kit: Any) -> None:
    def echo(request: Any) -> Any:
        if request.method == "DELETE":
            raise ValueError("no")
        return 201, request.body + request.headers["content-type"].encode()

    async def app() -> list[object]:
        page = await plain.fetch("https://a.example/page")
        raw = await plain.fetch("https://a.example/raw")
        posted = await plain.fetch("https://a.example/echo", json={"a": 1})
        found: list[object] = [page.json(), page.ok, raw.content, posted.status, posted.text]
        for url, method in (("https://b.example/", "GET"), ("https://a.example/echo", "DELETE")):
            try:
                await plain.fetch(url, method=method)
            except plain.Error as error:
                found.append(f"{error.code}: {error.message}")
        try:
            raw.json()
        except plain.Invalid as error:
            found.append(error.message.partition(":")[0])
        return found

    pages = {"https://a.example/page": '{"b": 2}', "https://a.example/raw": b"\x00\xff", "https://a.example/echo": echo}
    host = kit.Host(pages=pages)
    app_result: list[object] = []

    async def run() -> None:
        app_result.extend(await app())

    host.run(run)
    assert app_result == [
        {"b": 2},
        True,
        b"\x00\xff",
        201,
        '{"a": 1}application/json',
        "permission-denied: this test has no page https://b.example/",
        "unavailable: the page failed: ValueError: no",
        "the answer of https",
    ]
    assert [request.method for request in host.requests] == ["GET", "GET", "POST", "DELETE"]
    with pytest.raises(plain.Invalid, match="not a JSON value"):
        kit.Host(pages=pages).run(lambda: plain.fetch("https://a.example/page", json={1, 2}))


def test_branches_and_predictions(plain: Any, kit: Any) -> None:
    async def app() -> list[object]:
        ctx = plain.Context()
        ctx.feed("One plus one is")
        dist = await ctx.pred(top_k=3, entropy=True, logprobs=plain.encode(" two"))
        best = dist.argmax()
        others = [ctx.fork(), ctx.fork()]
        both = await plain.pred_all([(other, token) for other, (token, _) in zip(others, dist.top_k(), strict=False)])
        kept = await ctx.pred([best], keep=True)
        drawn = (await kept.ask(sample=True)).sampled
        ctx.truncate(len(ctx) - 1)
        accepted = await ctx.verify([best, drawn, best])
        return [
            plain.decode(best),
            dist.entropy() > 0,
            round(2.718281828 ** dist.logprob(best), 3),
            [plain.decode(one.argmax()) for one in both],
            plain.decode(accepted),
            len(ctx),
            plain.usage().forwards,
        ]

    host = kit.Host([" two indeed."])
    found = host.run(app)
    assert (found[0], found[1], found[3:]) == (" two", True, [[" indeed", " indeed"], " indeed.", 6, 5])
    assert 0.85 < found[2] < 0.95
    assert host.prompts == ["One plus one is"]


def test_odds(plain: Any, kit: Any) -> None:
    async def app() -> list[object]:
        ctx = plain.Context().feed("Is it?")
        yes, no = plain.encode("yes")[0], plain.encode("no")[0]
        dist = await ctx.pred(logprobs=[yes, no], top_k=1)
        rule = plain.Constraint.choice(["no", "never"])
        return [plain.decode(dist.argmax()), dist.logprob(yes) > dist.logprob(no), rule.allows(yes), rule.allows(no)]

    assert kit.Host(odds=lambda text: {"yes": 3, "no": 1}).run(app) == ["yes", True, False, True]
    with pytest.raises(kit.ScriptError, match="is not one token"):
        kit.Host(odds=lambda text: {"two words": 1}).run(app)


def test_constraints_hold_for_the_script(plain: Any, kit: Any) -> None:
    async def app(kind: str, rule: Any) -> object:
        ctx = plain.Context()
        ctx.user("Go")
        out = await ctx.generate(**{kind: rule})
        return out.json() if kind == "schema" else out.text

    assert kit.Host(['{"a": 1}']).run(app, kind="schema", rule={"type": "object"}) == {"a": 1}
    assert kit.Host(["b"]).run(app, kind="choice", rule=["a", "b"]) == "b"
    for kind, rule in (("schema", {}), ("choice", ["a"]), ("regex", "[a-z]")):
        with pytest.raises(kit.ScriptError, match=f"is not what the program's {kind} allows"):
            kit.Host(["No."]).run(app, kind=kind, rule=rule)
    with pytest.raises(plain.Invalid, match="regular expression has an error"):
        kit.Host(["No."]).run(app, kind="regex", rule="(")


STEPPED = [
    ("regex", "room [0-9]{2,3}", "room 12"),
    ("regex", "[a-z]+@[a-z]+\\.com", "nora@example.com"),
    ("grammar", 'start: "(" word ("," word)* ")"\nword: /[a-zé]+/', "(tea,café)"),
    ("json_schema", {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}, '{"a": 31}'),
]


@pytest.mark.parametrize(("kind", "rule", "text"), STEPPED)
def test_rules_are_followed_token_by_token(plain: Any, kit: Any, kind: str, rule: Any, text: str) -> None:
    async def app() -> list[object]:
        step = getattr(plain.Constraint, kind)(rule)
        ctx = plain.Context().feed("Write:")
        found = [step.complete, step.allows(plain.encode("!")[0])]
        written: list[int] = []
        token: int | list[int] = []
        while len(written) < len(plain.encode(text)):
            token = (await ctx.pred(token or None, constraint=step, sample=True)).sampled
            step.consume(token)
            written.append(token)
        found += [plain.decode(written), step.complete, plain.decode(written) == text]
        twin = step.fork()
        step.rollback(len(written))
        found += [step.complete, twin.complete]
        with pytest.raises(plain.Invalid, match="is not allowed here"):
            twin.consume(plain.encode("!"))
        step.consume(written)
        step.consume(ctx.model.stop_tokens[0])
        return [*found, step.done]

    assert kit.Host([text]).run(app) == [False, False, text, True, True, False, True, True]


def test_what_is_forced_by_a_rule(plain: Any, kit: Any) -> None:
    async def app() -> list[object]:
        schema = {"type": "object", "properties": {"city": {"enum": ["Oslo"]}}, "required": ["city"]}
        rule = plain.Constraint.json_schema({**schema, "additionalProperties": False}, spacing="compact")
        forced = plain.decode(rule.forced())
        rule.consume(rule.forced())
        return [forced, rule.complete, plain.Constraint.regex("[ab]").forced()]

    assert kit.Host().run(app) == ['{"city":"Oslo"}', True, []]


def test_a_rule_that_cannot_be_followed(plain: Any, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def app(lark: str) -> bool:
        return plain.Constraint.grammar(lark).allows(plain.encode("a")[0])

    assert kit.Host().run(app, lark='start: "a"')
    with pytest.raises(plain.Invalid, match="the grammar cannot be"):
        kit.Host().run(app, lark="start: nothing")
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(kit.ScriptError, match="pip install llguidance"):
        kit.Host().run(app, lark='start: "a"')


def test_files_stay_between_runs(plain: Any, kit: Any) -> None:
    async def write(path: str) -> None:
        async with plain.Context() as ctx:
            await ctx.feed("Remember this.").save(path)

    async def read(path: str) -> list[object]:
        async with plain.Context.open(path) as ctx, ctx.lock():
            return [len(ctx), plain.fs.exists("/b"), [entry.name for entry in plain.fs.ls("/notes")]]

    host = kit.Host()
    host.run(write, path="/notes/a")
    assert host.files == {"/notes/a": "Remember this."}
    assert host.run(read, path="/notes/a") == [3, False, ["a"]]
    with pytest.raises(plain.Exists):
        host.run(write, path="/notes/a")


def test_time_passes_at_once(plain: Any, kit: Any) -> None:
    async def app() -> str:
        try:
            async with asyncio.timeout(3600):
                await plain.sleep(86400)
        except TimeoutError:
            return "too slow"
        return "done"

    host = kit.Host()
    assert host.run(app) == "too slow"
    assert host.seconds == pytest.approx(3600)


def test_messages_channels_and_children(plain: Any, kit: Any) -> None:
    async def worker(factor: int) -> int:
        note = plain.Context.inherit("note")
        async with plain.channel("results") as results:
            await results.send(f"{len(note)} tokens")
        return factor * int(await plain.receive())

    async def app() -> list[object]:
        ctx = plain.Context().feed("Pass this on.")
        async with plain.channel("results") as results:
            child = await plain.spawn("worker", files={"note": ctx}, factor=2)
            await child.send(await plain.receive())
            killed = await plain.spawn("worker", files={"note": ctx}, factor=3)
            found: list[object] = [await child.wait(), await results.receive()]
            killed.kill()
            try:
                await killed.wait()
            except plain.Cancelled as error:
                found.append(error.message)
            return found

    host = kit.Host(messages=["21"], programs={"worker": worker})
    assert host.run(app) == [42, "4 tokens", "the child was killed"]
    with pytest.raises(kit.ScriptError, match="waits for something that never comes"):
        kit.Host(programs={"worker": worker}).run(app)


def test_streams_stop_strings_and_log(plain: Any, kit: Any) -> None:
    async def app() -> list[object]:
        ctx = plain.Context()
        ctx.user("Count")
        pieces = [chunk.text async for chunk in ctx.stream(chunk_tokens=2, stop=[" four"])]
        plain.log("counted", level="warn")
        return [pieces, await ctx.fork().generate() and True]

    host = kit.Host(lambda prompt: "one two three four five")
    assert host.run(app) == [["one two", " three"], True]
    assert host.logs == [("warn", "counted")]


def test_outside_of_a_run_there_is_no_host(plain: Any, kit: Any) -> None:
    kit.Host().run(lambda: None)
    with pytest.raises(RuntimeError, match="answered by Symphony's host"):
        plain.Context()


def test_its_records_are_those_of_the_bindings(kit: Any, bindings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The generator's spelling of names, and the order of fields, are componentize-py's."""
    monkeypatch.syspath_prepend(str(bindings))
    records = importlib.import_module("lip.testing._records")
    compared = 0
    for interface in ("constraint", "infer", "ipc", "kvfs", "log", "model", "process", "tool", "types"):
        real = importlib.import_module(f"lip_world.imports.{interface}")
        for name, made in vars(getattr(records, interface)).items():
            if isinstance(made, type):
                assert _shape(made) == _shape(getattr(real, name)), f"{interface}.{name}"
                compared += 1
    assert compared > 30


def _shape(kind: Callable[..., Any]) -> object:
    if isinstance(kind, enum.EnumMeta):
        return [(member.name, member.value if issubclass(kind, enum.Flag) else None) for member in kind]
    return list(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def test_a_mask_decides_what_the_script_gets_to_see(plain: Any, kit: Any) -> None:
    seen: list[str] = []

    def odds(text: str) -> dict[str, float]:
        seen.append(text)
        return {" yes": 1.0}

    async def app() -> list[Any]:
        async with plain.Context() as ctx:
            await ctx.feed("one two three").flush()
            hidden = await ctx.pred(" four", mask=[(0, 1), (2, None)], top_k=1)
            each = await ctx.pred([*plain.encode(" five six")], every=True, masks=[[(0, 1)], []], top_k=1)
            placed = await ctx.pred(" seven", positions=[9], top_k=1)
            again = await ctx.pred(mask=[(1, 2)], top_k=1)
            return [plain.decode([dist.argmax()]) for dist in (hidden, *each, placed, again)]

    assert kit.Host(odds=odds).run(app) == [" yes"] * 5
    assert seen == ["one three four", "one five", " six", "one two three four five six seven", " two seven"]


def test_masks_and_positions_that_do_not_fit_are_refused(plain: Any, kit: Any) -> None:
    async def app(**options: Any) -> None:
        async with plain.Context() as ctx:
            await ctx.feed("one two").flush()
            await ctx.pred(plain.encode(" three four five"), **options)

    with pytest.raises(plain.Invalid, match="2 masks for 3 tokens"):
        kit.Host(odds=lambda text: {" yes": 1.0}).run(lambda: app(masks=[[(0, 1)], []]))
    with pytest.raises(plain.Invalid, match="1 positions for 3 tokens"):
        kit.Host(odds=lambda text: {" yes": 1.0}).run(lambda: app(positions=[4]))


def test_a_branch_of_a_tree_goes_on_with_the_reply_that_is_being_written(plain: Any, kit: Any) -> None:
    async def app() -> list[str]:
        async with plain.Context() as ctx:
            await ctx.feed("say").flush()
            begun = await ctx.pred(top_k=1)
            branches = plain.encode(" one other")
            dists = await ctx.pred(
                branches, every=True, masks=[[(0, 1)], [(0, 1), (2, None)]], positions=[1, 1], top_k=1
            )
            return [plain.decode([dist.argmax()]) for dist in (begun, *dists)]

    host = kit.Host([" one two"])
    assert host.run(app) == [" one", " two", " two"]
    assert len(host.prompts) == 1
