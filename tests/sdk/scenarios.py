"""The Python side of docs/sdk.md, a function a scenario, for a source and a component. Rust: `rust/src/lib.rs`."""

import asyncio
import time

from lip import (
    Constraint,
    Context,
    Draft,
    Invalid,
    LimitExceeded,
    Limits,
    NotFound,
    channel,
    decode,
    emit,
    encode,
    fetch,
    fs,
    log,
    main,
    models,
    now,
    pid,
    pred_all,
    receive,
    sleep,
    spawn,
    tenant,
    tool,
    tools,
    usage,
)


@main
async def app(case: str) -> object:
    return await globals()[f"case_{case}"]()


async def case_text() -> object:
    model = models()[0]
    async with Context(model=model.name) as ctx:
        ctx.feed("<|im_end|>", special=True)
        ids = encode("héllo")
        return [ids, decode(ids), len(ctx), ctx.model.name, ctx.model.page_size]


async def case_turns() -> object:
    async with Context(tools=[each.as_function() for each in tools()]) as ctx:
        ctx.system("S").user("U").assistant("A").message("tool", "T", name="add").user("V")
        before = len(ctx)
        ctx.assistant_start()
        return [before < len(ctx), decode(ctx.tokens())]


async def case_files() -> object:
    ctx = Context()
    ctx.feed("abcdefgh").feed([1, 2]).feed(3)
    await ctx.flush()
    fork = ctx.fork()
    fork.truncate(4)
    fork.feed("xyz")
    try:
        fork.truncate(99)
    except Invalid as error:
        refused = error.code
    found = [len(ctx), fork.tokens(), fork.tokens(2, 5), ctx.tokens(7), refused]
    fork.close()
    ctx.close()
    return [*found, usage().pages]


async def case_moved() -> object:
    async with Context() as ctx:
        ctx.feed("abcdefghij")
        part = ctx.extract([(0, 2), (5, 8)])
        moved = ctx.extract([(5, 8)], rebase=True)
        part.append(moved, 0, 2)
        ctx.pin()
        pinned = ctx.stat().pinned
        ctx.unpin()
        ctx.advise("dont-need")
        ctx.advise("will-need")
        stat = part.stat()
        return [decode(part.tokens()), stat.plain, stat.next_position, moved.stat().next_position, pinned]


async def case_names() -> object:
    async with Context() as ctx:
        ctx.feed("remember")
        await ctx.save("/sdk/a")
        ctx.feed("!")
        await ctx.save("/sdk/a", overwrite=True)
        await ctx.link("/sdk/b")
        ctx.chmod(other="r")
        ctx.ttl(3600)
        mode = ctx.stat().mode
    with_write = Context.open("/sdk/b", write=True)
    with_write.feed("?")
    await with_write.flush()
    fs.link("/sdk/a", "/sdk/c")
    fs.mkdir("/sdk/d")
    fs.rename("/sdk/c", "/sdk/d/e")
    found = [[entry.name for entry in fs.ls("/sdk")], fs.glob("/sdk/**/[a-e]"), fs.stat("/sdk/b").ttl, mode]
    found.append([len(Context.open("/sdk/a")), len(Context.open("/sdk/b")), fs.exists("/sdk/c")])
    for path in ("/sdk/a", "/sdk/b", "/sdk/d/e", "/sdk/d"):
        fs.unlink(path)
    try:
        Context.open("/sdk/a")
    except NotFound as error:
        found.append(error.code)
    return found


async def case_durable() -> object:
    refused = []
    async with Context() as ctx:
        ctx.feed("for long")
        try:
            await ctx.sync()
        except Invalid:
            refused.append(True)
        await ctx.link("/sdk/own")
        await ctx.sync()
        await ctx.save("/sdk/kept", sync=True)
    await asyncio.gather(fs.sync("/sdk/own"), fs.sync("/sdk/kept"))
    try:
        await fs.sync("/sdk/none")
    except NotFound:
        refused.append(True)
    found = [fs.glob("/sdk/*"), refused]
    fs.unlink("/sdk/own")
    fs.unlink("/sdk/kept")
    return found


async def case_locks() -> object:
    async with Context.open("/sdk/lock", write=True, create=True) as one:
        other = Context.open("/sdk/lock", write=True)
        held = await one.lock()
        try:
            other.try_lock()
        except Exception as error:
            refused = type(error).__name__
        held.release()
        async with other.lock(shared=True), one.lock(shared=True):
            shared = one.try_lock(shared=True).held
    fs.unlink("/sdk/lock")
    return [refused, shared]


def rounded(value: float) -> float:
    return round(value, 3)


async def case_pred() -> object:
    async with Context() as ctx:
        ctx.feed("abc")
        first = await ctx.pred()
        dist = await ctx.pred(
            first.argmax(), top_k=4, sample={"temperature": 0.8, "seed": 7}, logprobs=[5], entropy=True
        )
        top = dist.top_k()
        every = await ctx.pred([1, 2, 3], every=True)
        only = await ctx.pred(allowed=Constraint.choice(["z"]).mask())
        refused = ""
        try:
            only.entropy()
        except Invalid as error:
            refused = error.code
        readings = [rounded(dist.logprob(5)), rounded(dist.entropy()), [[t, rounded(p)] for t, p in dist.top_k(2)]]
        return [
            first.argmax(),
            len(top),
            dist.sampled,
            readings,
            [each.argmax() for each in every],
            only.argmax(),
            refused,
        ]


async def case_kept() -> object:
    async with Context() as ctx:
        one, two = await ctx.pred("ab", every=True, keep=True)
        ctx.truncate(0)
        before = usage().forwards
        more = await two.ask(top_k=3, entropy=True)
        one.forget()
        return [more.argmax() == two.argmax(), len(more.top_k(3)), usage().forwards - before]


async def case_placed() -> object:
    async with Context() as ctx:
        await ctx.feed("abcdef").flush()
        hidden = await ctx.fork().pred([10], mask=[(0, 1), (4, 7)])
        far = ctx.fork()
        await far.pred([10], positions=[40])
        return [hidden.argmax() != (await ctx.fork().pred([10])).argmax(), far.stat().next_position, far.stat().plain]


async def case_guesses() -> object:
    async with Context() as ctx:
        await ctx.feed("abcdef").flush()
        tree = await ctx.fork().pred_tree([10, 20, 11], [-1, -1, 0])
        alone = [(await ctx.fork().pred(path)).argmax() for path in ([10], [20], [10, 11])]
        first = (await ctx.pred()).argmax()
        right = (await ctx.fork().pred([first])).argmax()
        written = await ctx.verify([first, right, right])
        return [[each.argmax() for each in tree] == alone, written[0] == right, len(written), len(ctx)]


async def case_together() -> object:
    contexts = [Context().feed(text) for text in ("a", "bc", "def")]
    before = usage().forwards
    dists = await pred_all([(ctx, [i]) for i, ctx in enumerate(contexts)])
    steps = usage().forwards - before
    alone = [(await Context().feed(text).pred([i])).argmax() for i, text in enumerate(("a", "bc", "def"))]
    return [[dist.argmax() for dist in dists] == alone, steps, [len(ctx) for ctx in contexts]]


async def case_generate() -> object:
    async with Context() as ctx:
        ctx.feed("once upon")
        out = await ctx.generate(max_tokens=6, stop_tokens=[], logprobs=2)
        drawn = await ctx.fork().generate(max_tokens=4, stop_tokens=[], temperature=0.9, top_k=50, top_p=0.9, seed=3)
        value = await ctx.generate(max_tokens=40, constraint=Constraint.json_schema({"const": {"a": [1]}}))
        return [out.tokens, out.text, out.finish_reason, len(out.logprobs or []), drawn.tokens, value.json(), len(ctx)]


async def case_stream() -> object:
    async with Context() as ctx:
        ctx.feed("once upon")
        chunks, stream = [], ctx.stream(max_tokens=10, stop_tokens=[], chunk_tokens=4, chunk_ms=0)
        async for chunk in stream:
            chunks.append(len(chunk.tokens))
        whole = stream.completion()
        left = ctx.stream(max_tokens=100, stop_tokens=[], chunk_tokens=2, chunk_ms=0)
        async for _ in left:
            break
        left.close()
        # one that is slow to ask for the next chunk gets a larger one
        return [sum(chunks), len(chunks) > 1, whole.text == stream.text, whole.finish_reason, len(ctx) < 100]


async def case_drafts() -> object:
    found = []
    async with Context() as writer:
        for draft in (None, Draft(tokens=4, ngram=2), writer):
            async with Context() as ctx:
                out = await ctx.feed("abcabcabcabc").generate(max_tokens=12, stop_tokens=[], draft=draft)
                found.append(out.tokens)
    return [found[0] == found[1] == found[2], found[0], usage().accepted_tokens > 0]


async def case_constraints() -> object:
    rules = [
        Constraint.json_schema({"type": "boolean"}),
        Constraint.regex("[0-9]{3}"),
        Constraint.grammar('start: "yes" | "no"'),
        Constraint.choice(["left", "right"]),
    ]
    found = []
    for rule in rules:
        async with Context() as ctx:
            found.append((await ctx.feed("x").generate(max_tokens=8, constraint=rule)).text)
    digits = Constraint.regex("[0-9]{2}x")
    a, x = encode("1")[0], encode("x")[0]
    digits.consume([a, a])
    copy = digits.fork()
    digits.rollback(1)
    steps = [copy.forced() == [x], digits.allows(a), copy.allows(a), len(copy.mask()) > 0]
    copy.consume(x)
    async with Context() as ctx:
        drawn = await ctx.pred("q", constraint=digits)
    steps += [copy.complete, copy.done, digits.complete, 48 <= drawn.argmax() < 58]
    copy.close()
    return [
        found[0] in ("true", "false"),
        found[1].isdigit(),
        found[2] in ("yes", "no"),
        found[3] in ("left", "right"),
        steps,
    ]


async def case_outside() -> object:
    before, start = now(), time.monotonic()
    emit("héllo")
    log("a line", level="warn")
    answer = await tool("add", a=2, b=3)
    await sleep(0.001)
    passed = time.monotonic() - start >= 0.001 and now() >= before
    used = usage()
    found = [answer, [each.name for each in tools()], tenant(), pid() > 0, passed, used.forwards, used.cpu_us > 0]
    try:
        await tool("nothing")
    except NotFound as error:
        found.append([error.code, "nothing" in error.message, error.hint != ""])
    return found


async def case_fetched() -> object:
    place = await receive()
    got = await fetch(f"{place}/a?b=c")
    sent = await fetch(f"{place}/echo", body=b"\x00\xff\xfe", headers={"X-One": "é"})
    bytes_back = [
        list((await fetch(f"{place}/echo", body=bytes([255, *range(n)]), headers={"X-One": "é"})).content)
        for n in range(5)
    ]
    value = (await fetch(f"{place}/echo", json={"a": [1, "ü"]}, seconds=20)).json()
    lost = await fetch(f"{place}/lost")
    found = [got.status, got.text, got.headers["content-type"], got.ok, list(sent.content), value, lost.status, lost.ok]
    refused = []
    for url in ("http://127.0.0.1:1/", "http://169.254.169.254/", "nowhere"):
        try:
            await fetch(url)
        except Exception as error:
            refused.append(type(error).__name__)
    both = await asyncio.gather(*(fetch(f"{place}/a?{n}") for n in range(10)))
    return [*found, refused, [each.text for each in both][-1], got.url.removeprefix(place), bytes_back]


async def case_concurrent() -> object:
    order = []

    async def work(name: str, seconds: float) -> str:
        await sleep(seconds)
        order.append(name)
        return name

    names = await asyncio.gather(work("slow", 0.2), work("quick", 0.001))
    done, pending = await asyncio.wait(
        [asyncio.ensure_future(work(name, s)) for name, s in (("first", 0.001), ("never", 60))],
        return_when=asyncio.FIRST_COMPLETED,
    )
    for task in pending:
        task.cancel()
    late = ""
    try:
        async with asyncio.timeout(0.001):
            await sleep(60)
    except TimeoutError:
        late = "timed-out"
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(work(str(n), 0.001 * n)) for n in (1, 5)]
    return [names, [task.result() for task in done], late, [task.result() for task in tasks], order]


async def case_messages() -> object:
    text = await receive()
    async with channel("sdk jobs") as jobs, channel("sdk news", broadcast=True) as news:
        listener = channel("sdk news", broadcast=True)
        await jobs.send("one")
        await jobs.send("two")
        await news.send("all")
        found = [text, await jobs.receive(), await jobs.receive(), await listener.receive()]
        listener.close()
    return found


async def case_children() -> object:
    async with Context() as ctx:
        ctx.feed("abcdefgh")
        child = await spawn(None, case="child", files={"ctx": ctx}, limits=Limits(seconds=30, tools=[]))
        await child.send("from its parent")
        result = await child.wait()
    idle = await spawn(None, {"case": "child"})
    idle.kill()
    refused = []
    for end in (idle.wait, lambda: spawn("no such program")):
        try:
            await end()
        except Exception as error:
            refused.append(type(error).__name__)
    free = await spawn(None, case="text")
    free.detach()
    return [result, refused, free.pid > child.pid]


async def case_child() -> object:
    text = await receive()
    ctx = Context.inherit("ctx")
    return [text, len(ctx), [each.name for each in tools()]]


async def case_errors() -> object:
    held = []
    try:
        while True:
            held.append(channel("sdk"))
    except LimitExceeded as error:
        return [error.code, "64" in error.message, str(error).count("hint"), len(held)]
