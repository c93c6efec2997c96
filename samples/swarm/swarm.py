"""A swarm: one program reads a document, and child programs that inherit what it read answer questions about it.

The parent computes the document once, and passes its KV file to every child: each has a copy-on-write fork, in a
sandbox of its own. Questions lie in a channel, from which a worker that is free takes the next; answers come back by
another.
"""

import json
from asyncio import Task, TaskGroup
from secrets import token_hex
from typing import Any

from lip import Channel, Child, Context, channel, emit, main, spawn, usage

DOCUMENT = """[1] Nora owns the green lamp.
[2] The error code E42 means disk full.
[3] The red clock is in the museum.
[4] Zeltro was founded by Ada Park in 1987."""
QUESTIONS = [
    "What does the error code E42 mean?",
    "Where is the red clock?",
    "Who founded Zeltro?",
    "Who owns the green lamp?",
]


async def work(questions: Channel, answers: Channel, max_tokens: int) -> dict[str, Any]:
    """A worker: it answers what it takes from the queue, until an empty text comes."""
    answered = 0
    async with Context.inherit("document") as document:
        while question := await questions.receive():
            async with document.fork() as ctx:
                answer = await ctx.user(f"Question: {question}").generate(max_tokens=max_tokens)
            await answers.send(json.dumps({"question": question, "answer": answer.text}))
            answered += 1
    used = usage()
    return {"answered": answered, "computed": used.prompt_tokens}


async def lead(questions: list[str], document: str, workers: int, max_tokens: int) -> dict[str, Any]:
    name = token_hex(4)  # channels are the tenant's: a name that no other run has
    async with Context() as ctx, channel(f"{name}-questions") as asked, channel(f"{name}-answers") as answers:
        ctx.system("Documents:").user(document)
        told = {"role": "worker", "name": name, "max_tokens": max_tokens}
        crew: list[Child] = [await spawn(None, told, files={"document": ctx}) for _ in range(workers)]
        async with TaskGroup() as group:  # a worker that fails ends this; its question would be answered by nobody
            done: list[Task[Any]] = [group.create_task(child.wait()) for child in crew]
            for question in questions:
                await asked.send(question)
            found = [json.loads(await answers.receive()) for _ in questions]
            for _ in crew:
                await asked.send("")
        reports = [task.result() for task in done]
        asking = sum(report["computed"] for report in reports)
        computed, alone = usage().prompt_tokens + asking, workers * len(ctx) + asking
    for one in found:
        emit("{question} {answer}\n".format(**one))
    emit(f"{workers} workers: {computed} prompt tokens computed; if each read the document itself, {alone}\n")
    return {"answers": found, "workers": reports, "computed": computed, "computed_alone": alone}


@main
async def swarm(
    questions: list[str] = QUESTIONS,
    document: str = DOCUMENT,
    workers: int = 3,
    max_tokens: int = 32,
    role: str = "lead",
    name: str = "",
) -> dict[str, Any]:
    if role == "lead":
        return await lead(questions, document, workers, max_tokens)
    async with channel(f"{name}-questions") as asked, channel(f"{name}-answers") as answers:
        return await work(asked, answers, max_tokens)
