"""Mistakes that everybody makes once, and what the program's author reads: the mistake by name, and what to do."""

from __future__ import annotations

import pytest
from hostile_host import Host, lip

from symphony.errors import ProgramError

MISTAKES = {
    "an exception in a branch of gather": (
        """
        async def branch(i):
            await sleep(0.001)
            if i == 2:
                raise ValueError(f"branch {i} broke")
        await asyncio.gather(*(branch(i) for i in range(4)))
        """,
        ["ValueError: branch 2 broke", 'raise ValueError(f"branch {i} broke")'],
    ),
    "an exception in a branch of a TaskGroup": (
        """
        async def branch():
            raise ValueError("the branch broke")
        async with asyncio.TaskGroup() as group:
            group.create_task(branch())
        """,
        ["ValueError: the branch broke"],
    ),
    "a forgotten await": (
        """
        ctx = Context().feed("x")
        return ctx.generate(max_tokens=1).text
        """,
        ["'coroutine' object has no attribute 'text'", "put `await` before it"],
    ),
    "a forgotten await of the result": (
        """
        return Context().feed("x").generate(max_tokens=1)
        """,
        ["the result is not a JSON value", "put `await` before it"],
    ),
    "an await too many": (
        """
        await Context().feed("x")
        """,
        ["can't be awaited", "leave out the `await`"],
    ),
    "asyncio.run": (
        """
        async def other():
            return 1
        work = other()
        try:
            asyncio.run(work)
        finally:
            work.close()
        """,
        ["cannot be called from a running event loop", "await the coroutine instead"],
    ),
    "endless recursion": (
        """
        def down(n):
            return down(n + 1)
        return down(0)
        """,
        ["RecursionError: maximum recursion depth exceeded", "give it a case that stops"],
    ),
    "a context used after its block": (
        """
        async with Context() as ctx:
            ctx.user("Hello")
        await ctx.generate(max_tokens=1)
        """,
        ["this context was closed", "inside its `async with` block"],
    ),
    "a prediction on a closed context, which would trap": (
        """
        ctx = Context().feed("x")
        ctx.close()
        await ctx.pred()
        """,
        ["this context was closed"],
    ),
    "a closed context beside others": (
        """
        ctx = Context().feed("x")
        ctx.close()
        await asyncio.gather(ctx.pred(), sleep(0))
        """,
        ["this context was closed"],
    ),
    "a closed context in a batch": (
        """
        ctx = Context().feed("x")
        ctx.close()
        await pred_all([(ctx, "y")])
        """,
        ["this context was closed"],
    ),
    "a closed channel": (
        """
        jobs = channel("jobs")
        jobs.close()
        await jobs.send("x")
        """,
        ["this channel was closed", "open it again"],
    ),
    "a schema that nothing satisfies": (
        """
        await Context().feed("x").generate(schema={"type": "integer", "minimum": 5, "maximum": 3})
        """,
        ["no text satisfies the schema", "correct the schema"],
    ),
    "a grammar with an error": (
        """
        await Context().feed("x").generate(grammar='start: word\\nword: "a" |\\n  ) b')
        """,
        ["   3 |   ) b", "correct it there"],
    ),
    "a regular expression with an error": (
        """
        await Context().feed("x").generate(regex="a(b")
        """,
        ["unclosed group", "Rust's syntax is understood"],
    ),
    "a tool that raises": (
        """
        await tool("fails")
        """,
        ["Unavailable: tool 'fails' failed: ValueError: the tool's own words"],
    ),
    "a child that is killed": (
        """
        child = await spawn("from lip import *\\n@main\\nasync def app():\\n    await sleep(100)\\n")
        child.kill()
        await child.wait()
        """,
        ["lip.Cancelled: child", "killed by process"],
    ),
    "a native package": (
        """
        import numpy
        """,
        ["No module named 'numpy'", "numpy is native code", "in a tool"],
    ),
    "a module without its C library": (
        """
        import ssl
        """,
        ["No module named 'ssl'", "needs what the sandbox does not have"],
    ),
    "a package that is not there": (
        """
        import jinja2
        """,
        ["No module named 'jinja2'", "`# /// script`", "symphony build"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_author_reads_what_it_was(mistake: str, host: Host) -> None:
    body, told = MISTAKES[mistake]
    error = host.error(lip(body))
    assert isinstance(error, ProgramError)
    text = f"{error}\n{error.traceback}"
    assert [words for words in told if words not in text] == [], text
    assert "lip/" not in text, "frames of the SDK"


def test_a_tool_that_takes_too_long(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symphony.outside.functions.TOOL_SECONDS", 0.05)
    error = host.error(lip('await tool("waits")'))
    assert "lip.TimedOut: tool 'waits' took longer than 0.05 s" in str(error)
