"""ReAct: the model thinks aloud, acts, reads what came of it, and thinks again, until it has the answer.

Every turn is a thought and an action, in a form that a regular expression holds the model to: an action is one of the
tools on offer, or `finish`. The program calls the tool and says what it answered. The conversation stays in one KV
file, so that answer costs its own tokens; a client that sends everything again after each tool pays for all of it.
"""

import re
from typing import Any

from lip import Context, Error, emit, main, tool, tools, usage


@main
async def react(
    question: str = "What is 12 plus the age of Nora Brandt?",
    use: list[str] = ["lookup", "calc"],
    max_steps: int = 6,
    max_tokens: int = 80,
) -> dict[str, Any]:
    offered = {t.name: next(iter(t.schema["properties"])) for t in tools() if t.name in use}
    usual = ", ".join(f"{name}[{parameter}]" for name, parameter in offered.items())
    form = rf"Thought: [^\n]{{1,80}}\nAction: ({'|'.join([*offered, 'finish'])})\[[^\[\]\n]{{1,60}}\]"
    steps: list[dict[str, str]] = []
    answer, resent = None, 0

    async with Context() as ctx:
        ctx.user(f"Answer the question with the tools {usual} and finish[answer].\nQuestion: {question}")
        while answer is None and len(steps) < max_steps:
            out = await ctx.generate(regex=form, max_tokens=max_tokens)
            resent += len(ctx)
            found = re.fullmatch(r"Thought: (.*)\nAction: (.*?)\[(.*)\]", out.text)
            if found is None:
                break  # the model used up max_tokens
            thought, action, argument = found.groups()
            emit(f"{out.text}\n")
            if action == "finish":
                answer = argument
                break
            try:
                observation = str(await tool(action, **{offered[action]: argument}))
            except Error as error:  # the model may know what to do about it
                observation = error.message
            emit(f"Observation: {observation}\n")
            steps.append({"thought": thought, "action": f"{action}[{argument}]", "observation": observation})
            ctx.user(f"Observation: {observation}")

        used = usage()
        computed = used.prompt_tokens + used.generated_tokens
        emit(f"{computed} tokens computed; sending the conversation again at every step, {resent}\n")
        return {"answer": answer, "steps": steps, "tokens": computed, "tokens_resent": resent}
