"""OpenAI's API as a program: what the host runs for `/v1/chat/completions` and `/v1/completions`.

Replace it by one of your own: `symphony serve --openai my.py`. It may look at the request first, add to the messages,
ask several times, call tools; what it hands to `openai.answer` is answered as clients of OpenAI expect.
"""

from lip import main, openai

HELLO = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 32, "temperature": 0}


@main
async def app(route: str = "chat", request: dict = HELLO) -> dict:
    return await openai.answer(route, request)
