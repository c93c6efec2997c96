"""Asynchronous tools: the model goes on with the conversation while a tool runs, and reads the result when it is there.

A call that the model writes is started and not waited for. The next turn comes at once; before each, results that have
arrived in the meantime are put into the conversation, each as a turn of its own, and the model says what it read. Only
when nothing else is left to say does the program wait, for whichever tool answers first.
"""

import asyncio
import json
import re
from asyncio import Task
from typing import Any

from lip import Context, Error, emit, main, tool, tools

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
TURNS = [
    "What is the forecast for Paris?",
    "What is the forecast for Rome?",
    "What is the capital of Sweden?",
    "My name is Nora.",
    "What is the capital of Peru?",
]


class Talk:
    """A conversation, the tools that run beside it, and what happened, in order."""

    def __init__(self, ctx: Context, max_tokens: int) -> None:
        self.ctx = ctx
        self.max_tokens = max_tokens
        self.running: dict[Task[Any], str] = {}
        self.order: list[str] = []

    def note(self, what: str) -> None:
        self.order.append(what)
        emit(f"{what}\n")

    async def turn(self, role: str, text: str) -> None:
        """Say something, and let the model answer; tools that it calls are started."""
        self.note(f"{role}: {text}")
        reply = await self.ctx.message(role, text).generate(max_tokens=self.max_tokens)
        self.note(f"model: {reply.text}")
        for call in CALL.findall(reply.text):
            self.running[asyncio.create_task(result_of(call))] = call

    async def arrived(self, wait: bool) -> None:
        """Turns for the results that are there. With `wait`, for at least one."""
        if self.running:
            done, _ = await asyncio.wait(self.running, timeout=None if wait else 0, return_when="FIRST_COMPLETED")
            for task in [task for task in self.running if task in done]:
                del self.running[task]
                await self.turn("tool", task.result())


async def result_of(call: str) -> str:
    """What the tool answered, or what was wrong: both are for the model to read."""
    try:
        request = json.loads(call)
        return json.dumps(await tool(request["name"], **request["arguments"]))
    except (Error, ValueError, KeyError, TypeError) as error:
        return json.dumps({"error": str(error)})


@main
async def async_tools(
    turns: list[str] = TURNS, use: list[str] = ["get_forecast"], max_tokens: int = 64
) -> dict[str, Any]:
    async with Context(tools=[each.as_function() for each in tools() if each.name in use]) as ctx:
        talk = Talk(ctx, max_tokens)
        meanwhile = 0
        for text in turns:
            await talk.arrived(wait=False)
            meanwhile += len(talk.running) > 0
            await talk.turn("user", text)
        while talk.running:
            await talk.arrived(wait=True)
        emit(f"{meanwhile} of {len(turns)} turns while tools ran\n")
        return {"order": talk.order, "meanwhile": meanwhile}
