"""Several contexts a step, and several guesses a step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from . import _host, _parts
from ._loop import Loop
from ._sampling import count
from .distribution import Dist
from .errors import Invalid

if TYPE_CHECKING:
    from .context import Context


async def pred_all(
    parts: Iterable[tuple[Context, str | int | Sequence[int] | None]],
    *,
    top_k: int | None = None,
    sample: bool | Mapping[str, Any] | None = None,
    logprobs: Sequence[int] | None = None,
    entropy: bool = False,
) -> list[Dist]:
    """`ctx.pred(tokens, ...)` for each pair of a context and tokens, in one step where they fit; asks the same of all.

    Beam and tree search take a step a level with it, at about the price of one call. No context twice. All of them
    start or none; where some fail after that, the first error is raised, and the others hold their tokens.
    """
    from .context import readings_of

    pairs = [(ctx, ctx.take(tokens)) for ctx, tokens in parts]
    last = _host.infer.Outputs_Last()
    wishes = [_parts.part(ctx.handle, new, last) for ctx, new in pairs]
    loop = cast(Loop, asyncio.get_running_loop())
    answers = await _parts.predict(loop, wishes, readings_of(top_k, sample, logprobs, entropy))
    for (ctx, _), answer in zip(pairs, answers, strict=True):
        if not isinstance(answer, Exception):
            ctx.taken()
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return [Dist(answer[0], logprobs) for answer in answers]


@dataclass(frozen=True, slots=True)
class Draft:
    """Guesses that `generate(draft=...)` has the model verify several at a step. They change no token.

    context  a context of a smaller model with the same vocabulary, which writes them: `Context(model="small")`. It is
             `Busy` meanwhile, and is brought in line with the text: it needs, and keeps, no turns of its own.
    ngram    without a context: the guess is what followed the last time that so many last tokens, or a few less, stood
             in the text. Good where the text repeats itself: summaries, edits, code, structured output.
    tokens   guesses a step at most, 1 to 32; fewer while they turn out wrong
    """

    context: Context | None = None
    ngram: int = 3
    tokens: int = 8


def draft_of(given: Draft | Context | int | bool | None) -> tuple[Any, Context | None]:
    """The host's record, and the context that writes the guesses."""
    if given is None or given is False:
        return None, None
    if isinstance(given, Draft):
        draft = given
    elif isinstance(given, int):
        draft = Draft() if given is True else Draft(tokens=given)
    elif hasattr(given, "handle"):
        draft = Draft(given, tokens=5)
    else:
        raise Invalid(f"draft={given!r} is not understood", "give True, a number of guesses, a Context, or a Draft")
    infer = _host.infer
    if draft.context is None:
        source = infer.DraftSource_PromptLookup(count("ngram", draft.ngram))
    else:
        source = infer.DraftSource_Model(draft.context.handle)
    return infer.Draft(source, count("a draft's tokens", draft.tokens)), draft.context
