"""A library: retrieval over documents that the model has read already.

Each document is a KV file, computed once, when it is first wanted. A question finds its documents by their words, puts
their files behind each other, in whatever order, and pays for itself only. The answer names the document it is from.
"""

import re
from collections import Counter
from hashlib import sha256
from typing import Any

from lip import Context, emit, fs, main, usage

HEAD = "Documents:"
DOCUMENTS = [
    "Nora owns the green lamp.",
    "The error code E42 means disk full.",
    "The capital of Brovia is Lisbon.",
    "Omar Reed works as a baker.",
    "The red clock is in the museum.",
    "Zeltro has 250 employees.",
    "Zeltro was founded by Ada Park in 1987.",
    "The password of Finn is kiwi.",
    "The blue clock costs 70 dollars.",
    "The Brovia museum opens at 09:30.",
]
QUESTIONS = ["What does the error code E42 mean?", "Where is the red clock?", "Who founded Zeltro?"]


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def nearest(question: str, documents: list[str], k: int) -> list[int]:
    """The k documents that share the most words with the question, rare ones counting more; the best comes last."""
    common = Counter(word for document in documents for word in words(document))
    score = [sum(1 / common[word] for word in words(document) & words(question)) for document in documents]
    return sorted(range(len(documents)), key=lambda i: score[i])[-k:]


async def volume(number: int, text: str, folder: str) -> Context:
    """The file of a document: the head that all have, and behind it the document as a turn."""
    turn = f"[{number}] {text}"
    path = f"{folder}/{sha256((HEAD + turn).encode()).hexdigest()[:20]}"
    if not fs.exists(path):
        async with Context() as ctx:
            ctx.system(HEAD).user(turn)
            await ctx.save(path, overwrite=True)
    return Context.open(path)


@main
async def library(
    questions: list[str] = QUESTIONS,
    documents: list[str] = DOCUMENTS,
    k: int = 4,
    folder: str = "/library",
    max_tokens: int = 32,
) -> dict[str, Any]:
    head = len(Context().system(HEAD))
    answers: list[dict[str, Any]] = []
    prompts = 0
    for question in questions:
        found = nearest(question, documents, k)
        first, *others = [await volume(i + 1, documents[i], folder) for i in found]
        async with first as ctx:
            for other in others:
                ctx.append(other, head)
                other.close()
            ctx.user(f"Question: {question}")
            answer = await ctx.generate(max_tokens=max_tokens)
            prompts += len(ctx) - len(answer.tokens)
        cited = re.search(r"\[(\d+)\]", answer.text)
        answers.append(
            {"answer": answer.text, "source": int(cited[1]) if cited else None, "read": [i + 1 for i in found]}
        )
        emit(f"{question} {answer.text}\n")
    computed = usage().prompt_tokens
    emit(f"{len(questions)} prompts of {prompts} tokens together; {computed} computed\n")
    return {"answers": answers, "prompt": prompts, "computed": computed}
