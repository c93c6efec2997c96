"""An agent: the model asks for tools, the program calls them and hands back what they say, until the model answers."""

import json
import re

from lip import Context, Error, main, tool, tools

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
"""How the model's chat template writes calls; other models have other words for it."""


@main
async def app(question: str = "What is the weather in Paris?", rounds: int = 4) -> str:
    async with Context(tools=[one.as_function() for one in tools()]) as ctx:
        ctx.user(question)
        for _ in range(rounds):
            reply = await ctx.generate(max_tokens=256)
            calls = CALL.findall(reply.text)
            if not calls:
                return reply.text
            for call in calls:
                ctx.message("tool", await answer(call))
    return f"No answer after {rounds} rounds of tools."


async def answer(call: str) -> str:
    """What a tool said, as JSON. The model's mistakes come back to it, so that it can do better."""
    try:
        request = json.loads(call)
        result = await tool(request["name"], **request["arguments"])
    except (ValueError, KeyError, TypeError, Error) as error:
        result = {"error": str(error)}
    return json.dumps(result)
