"""Draft model: a small model writes a few tokens ahead, the large one checks them all in one step.

What stands is what the large model would have drawn itself, greedy or seeded: the text is the same, to the token. Only
the number of its steps falls, the more the better the small model guesses. It needs a second model with the same
vocabulary; without one, the sample shows the mechanism with the model as its own draft, which gains nothing.
"""

from dataclasses import dataclass

from lip import Completion, Context, Draft, emit, main, models, usage

PROMPTS = [
    "What is the capital of Norway?",
    "Extract name, city as JSON.\nNora Brandt lives in Lisbon.",
    "List all emails in the text.\nWrite to nora@example.com. We went to Oslo. Write to ben.okafor@mail.net.",
    "Count from 1 to 12.",
]


@dataclass
class Run:
    out: Completion
    forwards: int
    accepted: int


async def write(prompt: str, small: Context | None, guesses: int, options: dict[str, float]) -> Run:
    before = usage()
    draft = None if small is None else Draft(small, tokens=guesses)
    async with Context() as ctx:
        ctx.user(prompt)
        out = await ctx.generate(max_tokens=64, draft=draft, **options)
    after = usage()
    return Run(out, after.forwards - before.forwards, after.accepted_tokens - before.accepted_tokens)


@main
async def draft(
    prompts: list[str] = PROMPTS, guesses: int = 4, temperature: float = 0.0, seed: int = 1
) -> list[dict[str, object]]:
    large, *others = models()
    small = next((m.name for m in others if m.vocab_size == large.vocab_size), large.name)
    if small == large.name:
        emit(f"There is no smaller model here: {small} guesses for itself, which saves no work.\n")
        emit("With one: symphony run draft --model tiny --model tiny-draft\n\n")
    found: list[dict[str, object]] = []
    for prompt in prompts:
        options = {"temperature": temperature, "seed": seed}
        plain = await write(prompt, None, guesses, options)
        async with Context(model=small) as context:
            drafted = await write(prompt, context, guesses, options)
        tokens = len(drafted.out.tokens)
        emit(f"{drafted.out.text}\n  {tokens} tokens in {drafted.forwards} steps of {large.name}, ")
        emit(f"{drafted.accepted} guessed by {small}; without, in {plain.forwards}\n")
        found.append(
            {
                "text": drafted.out.text,
                "same": drafted.out.tokens == plain.out.tokens,
                "tokens": tokens,
                "forwards": [plain.forwards, drafted.forwards],
            }
        )
    return found
