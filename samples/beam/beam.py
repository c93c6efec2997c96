"""Beam search: follow the `width` most probable texts at once, instead of the most probable next token.

A beam is a copy-on-write fork and the tokens that it has written. All of them go on by one token in one `pred_all`: a
level of the search is one step of the model. What ends with a stop token is set aside, and the search is over when
`width` texts have ended.
"""

from dataclasses import dataclass
from math import log

from lip import Context, Dist, decode, emit, main, pred_all, usage


@dataclass
class Beam:
    ctx: Context  # what is computed: the prompt, and all tokens but the last
    tokens: list[int]
    score: float  # log-probability of the tokens

    def then(self, dist: Dist) -> list["Beam"]:
        """The ways to go on; they share this context until they are chosen."""
        return [Beam(self.ctx, [*self.tokens, token], self.score + log(p)) for token, p in dist.top_k() if p > 0]


async def search(root: Context, width: int, depth: int) -> list[Beam]:
    """The texts that have ended, and those that had to stop after `depth` tokens."""
    ended: list[Beam] = []
    beams = [Beam(root.fork(), [], 0.0)]
    for _ in range(depth):
        dists = await pred_all([(beam.ctx, beam.tokens[-1:] or None) for beam in beams], top_k=width)
        found = [way for beam, dist in zip(beams, dists, strict=True) for way in beam.then(dist)]
        best = sorted(found, key=lambda beam: -beam.score)[:width]
        ended += [beam for beam in best if beam.tokens[-1] in root.model.stop_tokens]
        alive = [beam for beam in best if beam.tokens[-1] not in root.model.stop_tokens]
        parents, beams = beams, [Beam(beam.ctx.fork(), beam.tokens, beam.score) for beam in alive]
        for parent in parents:
            parent.ctx.close()
        if len(ended) >= width or not beams:
            break
    return ended + beams


@main
async def beam(
    prompt: str = "Tell a story about Nora the fox.", width: int = 4, depth: int = 24, penalty: float = 0.7
) -> list[dict[str, object]]:
    """`penalty`: longer texts are less probable. 0 leaves it at that, 1 compares by the mean of a token."""
    async with Context() as root:
        root.user(prompt).assistant_start()
        found = await search(root, width, depth)
        found.sort(key=lambda beam: -beam.score / len(beam.tokens) ** penalty)
        stops = root.model.stop_tokens
        texts = [decode([token for token in beam.tokens if token not in stops]) for beam in found[:width]]
        for text, beam in zip(texts, found, strict=False):
            emit(f"{beam.score:8.3f}  {text}\n")

        cost, levels = usage(), max(len(beam.tokens) for beam in found)
        each = 1 + width * (levels - 1)
        read = len(root) + width * sum(len(root) + level for level in range(1, levels))
        emit(
            f"{levels} levels: {cost.forwards} forward passes, {cost.prompt_tokens + cost.reused_tokens} tokens read\n"
        )
        emit(f"one request a beam and level, each with its whole text: {each} passes, {read} tokens\n")
        return [
            {"text": text, "score": round(beam.score, 3), "tokens": beam.tokens}
            for text, beam in zip(texts, found, strict=False)
        ]
