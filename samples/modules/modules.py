"""Modular prompt cache: parts of a prompt are computed once, each by itself, and put together in any choice and order.

A prefix cache helps as long as prompts begin alike. Here every module is a KV file of its own, saved under a name that
its text decides. A prompt is the first module's file with the others appended: their keys are turned to the places
where they now stand, which computes nothing, and only the question is new to the model.
"""

from hashlib import sha256
from typing import Any

from lip import Context, emit, fs, main, usage

HEAD = "Remember this:"
MODULES = {
    "network": "WASM_PORT = 8181\nregion = north\nproxy = heron",
    "limits": "MAX_FILES = 64\nRETRY_LIMIT = 5\nMAX_USERS = 250",
    "people": "owner = alice\nreviewer = omar\nboss = nora",
}
ASK = {
    "What is MAX_FILES?": ["network", "limits"],
    "Who is the owner?": ["people", "network"],
    "What is WASM_PORT?": ["limits", "people", "network"],
}


async def module(text: str, folder: str) -> Context:
    """A module's file: the common head, and behind it the module as a turn. Computed unless it is there already."""
    path = f"{folder}/{sha256((HEAD + text).encode()).hexdigest()[:20]}"
    if not fs.exists(path):
        async with Context() as ctx:
            ctx.system(HEAD).user(text)
            await ctx.save(path, overwrite=True)  # others may have made the same one meanwhile
    return Context.open(path)


@main
async def modules(
    ask: dict[str, list[str]] = ASK, texts: dict[str, str] = MODULES, folder: str = "/modules", max_tokens: int = 32
) -> list[dict[str, Any]]:
    head = len(Context().system(HEAD))
    answers: list[dict[str, Any]] = []
    for question, names in ask.items():
        before = usage().prompt_tokens
        first, *others = [await module(texts[name], folder) for name in names]
        async with first as ctx:
            for other in others:
                ctx.append(other, head)
            known = len(ctx)
            ctx.user(question)
            answer = await ctx.generate(max_tokens=max_tokens)
            prompt = len(ctx) - len(answer.tokens)
        computed = usage().prompt_tokens - before
        answers.append({"answer": answer.text, "prompt": prompt, "new": prompt - known, "computed": computed})
        emit(f"{' + '.join(names)}: {question} {answer.text}   (of {prompt} tokens, {computed} computed)\n")
    return answers
