"""Samplers: the program reads the distribution and draws by rules of its own, seven of them, each a small function.

A rule looks at the most probable tokens and says what weight each has in the draw. Adding one of yours means adding a
function: neither the engine nor the host has to know it. All texts go on by one token in one `pred_all`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from math import exp, log, sqrt

from lip import Context, decode, emit, main, pred_all, usage

Ranked = list[tuple[int, float]]  # tokens with their probabilities, or weights


@dataclass
class Now:
    ranked: Ranked  # best first
    entropy: float  # of the whole distribution, in nats
    surprise: float | None  # of the token drawn last


Rule = Callable[[Now], Ranked]


def temperature(value: float) -> Rule:
    """Sharper below 1, flatter above."""
    return lambda now: [(token, p ** (1 / value)) for token, p in now.ranked]


def top_k(k: int) -> Rule:
    """The k most probable (Fan et al. 2018)."""
    return lambda now: now.ranked[:k]


def top_p(mass: float) -> Rule:
    """The fewest that have this much of the probability (Holtzman et al. 2020)."""
    return lambda now: fewest(now.ranked, mass)


def min_p(share: float) -> Rule:
    """What has at least this share of the best one's probability (Nguyen et al. 2024)."""
    return lambda now: [(token, p) for token, p in now.ranked if p >= share * now.ranked[0][1]]


def eta(epsilon: float) -> Rule:
    """What is above a floor that sinks where the model is unsure (Hewitt et al. 2022)."""
    return lambda now: above(now.ranked, min(epsilon, sqrt(epsilon) * exp(-now.entropy)))


def typical(mass: float) -> Rule:
    """Those whose surprise is nearest to the expected one, as few as have this mass (Meister et al. 2023)."""
    return lambda now: fewest(sorted(now.ranked, key=lambda pair: abs(-log(pair[1]) - now.entropy)), mass)


def mirostat(target: float, rate: float = 0.1) -> Rule:
    """Keeps the surprise of what is drawn near `target`: a rule with a memory (Basu et al. 2021, version 2)."""
    limit = 2 * target

    def rule(now: Now) -> Ranked:
        nonlocal limit
        limit -= 0 if now.surprise is None else rate * (now.surprise - target)
        return above(now.ranked, exp(-limit))

    return rule


def fewest(ranked: Ranked, mass: float) -> Ranked:
    before = accumulate((p for _, p in ranked), initial=0.0)
    return [pair for pair, sum_before in zip(ranked, before, strict=False) if sum_before < mass]


def above(ranked: Ranked, floor: float) -> Ranked:
    return [pair for pair in ranked if pair[1] >= floor] or ranked[:1]


class Text:
    """One rule and what it has written."""

    def __init__(self, start: Context, rule: Rule, seed: int) -> None:
        self.ctx, self.rule, self.seed = start.fork(), rule, seed
        self.tokens: list[int] = []
        self.surprises: list[float] = []

    def draw(self, ranked: Ranked, entropy: float) -> None:
        weights = self.rule(Now(ranked, entropy, self.surprises[-1] if self.surprises else None))
        point = self._roll() * sum(weight for _, weight in weights)
        ends = accumulate(weight for _, weight in weights)
        token = next((token for (token, _), end in zip(weights, ends, strict=True) if point < end), weights[-1][0])
        self.tokens.append(token)
        self.surprises.append(-log(dict(ranked)[token]))

    def _roll(self) -> float:
        """The next number in [0, 1), the same in every language: splitmix64 (Steele et al. 2014)."""
        self.seed = (self.seed + 0x9E3779B97F4A7C15) % 2**64
        z = (self.seed ^ self.seed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return ((z ^ z >> 31) >> 11) / 2**53


def suite() -> dict[str, Rule]:
    return {
        "temperature 1.5": temperature(1.5),
        "top-k 5": top_k(5),
        "top-p 0.8": top_p(0.8),
        "min-p 0.1": min_p(0.1),
        "eta 0.01": eta(0.01),
        "typical 0.8": typical(0.8),
        "mirostat 2.0": mirostat(2.0),
    }


@main
async def samplers(
    start: str = "<|im_start|>user\nRead this text.\n", seed: int = 1, length: int = 32, candidates: int = 128
) -> dict[str, dict[str, object]]:
    async with Context() as ctx:
        ctx.feed(start, special=True)
        texts = {name: Text(ctx, rule, seed) for name, rule in suite().items()}
        for _ in range(length):
            rows = [(text.ctx, text.tokens[-1:] or None) for text in texts.values()]
            dists = await pred_all(rows, top_k=candidates, entropy=True)
            for text, dist in zip(texts.values(), dists, strict=True):
                text.draw([(token, p) for token, p in dist.top_k() if p > 0], dist.entropy())

        found = {}
        for name, text in texts.items():
            surprise = round(sum(text.surprises) / length, 2)
            found[name] = {"text": decode(text.tokens), "tokens": text.tokens, "surprise": surprise}
            emit(f"{name:15} {surprise:.2f} nats a token  {found[name]['text']!r}\n")
        emit(f"{len(texts) * length} tokens in {usage().forwards} forward passes\n")
        return found
