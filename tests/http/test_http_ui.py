"""The page at /ui/: in a headless Chromium, if there is one, on the real runtime; and what its files may not have."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from browser import CHROMIUM, Page, opened
from fake_runtime import FakeRuntime
from live_server import Server
from server_fixture import Client, with_server

from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile
from symphony.engine.fake import FakeEngine
from symphony.host import Runtime
from symphony.http import ui

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PICTURES = os.environ.get("SYMPHONY_PICTURES")
"""A folder for pictures of the page, for people to look at."""

PROGRAM = """
import lip
from lip import Context, emit, main

@main
async def app(prompt: str = "Hello", words: int = 3) -> dict:
    async with Context() as ctx:
        ctx.feed(prompt * 20)
        await ctx.pred()
        await ctx.save("/notes/first", overwrite=True)
        async with ctx.fork() as other:
            other.feed(" and more of it" * 10)
            await other.pred()
            await other.save("/notes/second", overwrite=True)
    for number in range(words):
        emit(f"<b>{number}</b> ")
    print("a line of the log")
    return {"prompt": prompt, "words": words}
"""
WAITS = (
    "import lip\nfrom lip import emit, main\n\n@main\nasync def app():\n    emit('waiting')\n    await lip.receive()\n"
)


def test_every_file_is_served_with_a_policy_and_nothing_comes_from_elsewhere() -> None:
    async def test(client: Client, runtime: FakeRuntime) -> None:
        assert len(ui.ROUTES) >= 8
        for route in ui.ROUTES:
            answer = await client.get(route.path)
            text = await answer.text()
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert not re.search(r"(src|href|from|import|url)\s*[=(]?\s*[\"']?(https?:)?//", text), route.path
            assert "innerHTML" not in text
            assert "eval(" not in text
        page = await (await client.get("/ui/")).text()
        named = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert set(named) <= {route.path.removeprefix("/ui/") for route in ui.ROUTES}
        assert "on" not in {name[:2] for name in re.findall(r"<[^>]* (on\w+)=", page)}

    with_server(test)


@needs_browser
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """Upload, run, stream, look at files and at the timeline, end a process; by keys where there are keys."""

    async def test(page: Page) -> None:
        await page.until("document.querySelector('#health').textContent.startsWith('ready')")
        await fill(page, "source", PROGRAM)
        await fill(page, "name", "app")
        await page.js("document.querySelector('#store').click()")
        await page.until("document.querySelectorAll('#arguments input').length === 2")
        await fill(page, "argument-words", "4")
        await page.press("Enter", ctrl=True)
        result = await page.until("document.querySelector('#result').textContent")
        assert '"words": 4' in result
        assert '"prompt": "Hello"' in result
        assert await page.js("document.querySelector('#output').textContent") == "<b>0</b> <b>1</b> <b>2</b> <b>3</b> "
        assert "a line of the log" in await page.js("document.querySelector('#log').textContent")
        await page.until("document.querySelector('#run-state').textContent.includes('forwards')")
        await picture(page, "playground")

        await page.js("document.querySelector('#to-timeline').click()")
        await page.until("document.querySelectorAll('#spans rect').length > 4")
        assert "syscalls" in await page.js("document.querySelector('#span-said').textContent")
        assert "infer#" in await page.js("document.querySelector('#span-rows').textContent")
        await picture(page, "timeline")

        await page.js("document.activeElement.blur()")
        await page.press("3")
        await page.until("document.querySelectorAll('#tree [role=treeitem]').length === 2")
        nested = "document.querySelector('#tree [role=group] .file button')"
        assert await page.js(f"{nested}.textContent") == "/notes/second"
        assert await page.js("document.querySelector('#tree [role=group] .pages .shared').clientWidth > 0")
        await page.js(f"{nested}.click()")
        assert "and more of it" in await page.until("document.querySelector('#file-text').textContent")
        await picture(page, "files")

        await page.press("1")
        await page.js("document.querySelector('#program').value = ''")
        await page.js("document.querySelector('#program').dispatchEvent(new Event('change'))")
        await fill(page, "source", WAITS)
        await page.js("document.querySelector('#run').click()")
        await page.until("document.querySelector('#output').textContent === 'waiting'")
        await page.press("2")
        await page.until("document.querySelectorAll('#process-rows tr').length === 2")
        await picture(page, "processes")
        await page.press("d")
        await picture(page, "processes-other-theme")
        await page.js(
            "[...document.querySelectorAll('#process-rows button')].find(b => b.textContent === 'End').click()"
        )
        await page.until("document.querySelector('#process-rows td:nth-child(3)').textContent === 'killed'")
        await page.press("1")
        await page.until("document.querySelector('#result').textContent.includes('killed')")
        await page.press("5")
        await page.until("document.querySelectorAll('#charts polyline').length >= 5")
        await picture(page, "plots")
        assert page.complaints == []
        assert all(url.startswith(server.url) or url.startswith(("about:", "blob:")) for url in page.requested)

    with Server(Runtime([FakeEngine()], home=tmp_path)) as server:
        in_browser(f"{server.url}/ui/", test)


@needs_browser
def test_a_server_with_keys(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    _, text = keys.add("acme", "ann", list(Role))

    async def test(page: Page) -> None:
        await page.until("!document.querySelector('#key-form').hidden")
        await fill(page, "key", text)
        await page.js("document.querySelector('#key-form').requestSubmit()")
        await page.press("2")
        await page.until("document.querySelector('#summary').textContent.includes('tokens/s')")
        assert await page.js("document.querySelector('#problem').hidden")
        assert page.complaints == []

    with Server(FakeRuntime(), gate=Gate(keys)) as server:
        in_browser(f"{server.url}/ui/", test)


def in_browser(url: str, test: Callable[[Page], Awaitable[None]]) -> None:
    async def scenario() -> None:
        async with asyncio.timeout(60), opened(url) as page:
            await page.until("document.readyState === 'complete'")
            await test(page)

    asyncio.run(scenario())


async def fill(page: Page, ident: str, text: str) -> None:
    await page.js(f"document.getElementById({ident!r}).value = {text!r}")


async def picture(page: Page, name: str) -> None:
    if PICTURES:
        await page.shoot(Path(PICTURES) / f"{name}.png")
