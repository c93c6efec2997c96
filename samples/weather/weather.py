"""Weather: the model asks for a tool, the program calls it, the model reads the answer.

The tools are the operator's (`--tools tools.py` on the command line, `Runtime(tools=...)` when embedded); the program
sees their names and JSON schemas and decides what to do with what the model says.
"""

import json
import re

from lip import Context, main, tool, tools

CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


@main
async def weather(question: str = "What is the weather in Paris?", max_tokens: int = 64) -> dict[str, object]:
    async with Context(tools=[t.as_function() for t in tools()]) as ctx:
        ctx.user(question)
        reply = await ctx.generate(max_tokens=max_tokens)
        calls = []
        for text in CALL.findall(reply.text):
            request = json.loads(text)
            result = await tool(request["name"], **request["arguments"])
            calls.append({"tool": request["name"], "arguments": request["arguments"], "result": result})
            ctx.message("tool", json.dumps(result))
        answer = (await ctx.generate(max_tokens=max_tokens)).text if calls else reply.text
        return {"calls": calls, "answer": answer}
