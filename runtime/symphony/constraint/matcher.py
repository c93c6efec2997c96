"""A grammar and a place in it: which tokens may come next, and on to the next place.

    compiled ── consume ──▶ somewhere ── consume ──▶ complete ── a stop token, or nothing can follow ──▶ done
        ◀──────────── rollback ──────────┘ (also from done)
    a bound reached while looking for the mask: broken, for good

Not thread-safe. It knows nothing of files, sampling or processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from time import perf_counter

from llguidance import LLMatcher

from symphony.constraint.grammar import Grammar
from symphony.constraint.translation import explain, limits, translate, unsatisfiable
from symphony.constraint.vocabulary import Vocabulary
from symphony.errors import Invalid, LimitExceeded
from symphony.param import INLINE_MASK_SECONDS


class Matcher:
    __slots__ = ("_ended", "_grammar", "_inner", "_mask", "_vocabulary", "consumed", "slow")

    def __init__(self, grammar: Grammar, vocabulary: Vocabulary) -> None:
        """Compiles; blocks. `Checker` has tried it first: a bad grammar may take forever. Raises Invalid,
        LimitExceeded."""
        self._grammar = grammar
        self._vocabulary = vocabulary
        self._inner = LLMatcher(vocabulary.native, translate(grammar), log_level=0, limits=limits())
        self._mask: bytes | None = None
        self._ended = False
        """A stop token was consumed where nothing else could follow."""
        self.consumed = 0
        """Tokens between the beginning and here."""
        self.slow = False
        """The last mask took longer than the event loop should: the next one is for a thread."""
        if self._inner.is_error():
            raise explain(grammar, self._inner.get_error())
        self._inner.compute_bitmask()
        if self._inner.get_error().startswith("NoExtension"):
            raise unsatisfiable(grammar)
        self.mask()

    @property
    def model(self) -> str:
        return self._vocabulary.model

    @property
    def complete(self) -> bool:
        """The text so far satisfies the grammar."""
        return self._inner.is_accepting()

    @property
    def done(self) -> bool:
        """Nothing can follow, or a stop token was consumed. A place is known to be one at the latest with its mask."""
        if self._ended or self._inner.is_stopped():
            return True
        mask = self._mask
        return mask is not None and self.complete and not int.from_bytes(mask, "little") & self._vocabulary.others

    @property
    def known(self) -> bool:
        """Whether the mask of this place was computed before: then `mask` costs nothing."""
        return self._mask is not None

    def mask(self, stops: Iterable[int] = ()) -> bytes:
        """The tokens that may come next, one bit each, in words of 32; where the text is complete the model's stop
        tokens are among them, and `stops`.

        Takes some 10 us as a rule, milliseconds at worst; releases the interpreter lock. Raises LimitExceeded: the
        grammar is too ambiguous to go on, here and everywhere later.
        """
        mask = self._found()
        strange = [token for token in stops if token not in self._vocabulary.ends]
        if not strange or not self.complete:
            return mask
        bits = bytearray(mask)
        for token in strange:
            bits[token >> 3] |= 1 << (token & 7)
        return bytes(bits)

    def _found(self) -> bytes:
        if self._inner.is_stopped() and self._inner.is_accepting():
            return self._vocabulary.ends_mask
        if self._mask is None:
            start = perf_counter()
            mask = self._inner.compute_bitmask()
            self.slow = perf_counter() - start > INLINE_MASK_SECONDS
            if self._inner.is_error():
                raise LimitExceeded(
                    f"the constraint cannot go on: {self._inner.get_error().split('<non-verbose/>')[0].strip()}",
                    "use a less ambiguous grammar",
                )
            self._mask = mask[: self._vocabulary.mask_bytes]
        return self._mask

    def accept(self, token: int) -> bool:
        """Go on with a token if it is allowed; else nothing changes."""
        return self._take((token,)) == 1

    def consume(self, tokens: Sequence[int]) -> None:
        """Go on. Raises Invalid for a token that is forbidden; nothing changes then."""
        taken = self._take(tokens)
        if taken < len(tokens):
            token = tokens[taken]
            if not 0 <= token < self._vocabulary.size:
                raise Invalid(f"token id {token} is outside the vocabulary of {self._vocabulary.size}")
            text = self._vocabulary.tokens.piece(token).decode("utf-8", "replace")
            place = f" after {taken} of them" if taken else ""
            raise Invalid(
                f"the constraint forbids token {token}, {text!r}{place}", "consume only tokens that its mask allows"
            )

    def _take(self, tokens: Sequence[int]) -> int:
        """All of them, or none; how many are allowed."""
        given = list(tokens)
        if given and (min(given) < 0 or max(given) >= self._vocabulary.size):
            allowed = next(i for i, token in enumerate(given) if not 0 <= token < self._vocabulary.size)
            return min(self._inner.validate_tokens(given[:allowed]), allowed)
        if self._ended:
            return 0
        allowed = self._inner.validate_tokens(given)
        if allowed < len(given):
            return allowed + self._end(given[:allowed], given[allowed:])
        if given:
            self._advance(given)
        return allowed

    def _end(self, before: list[int], rest: list[int]) -> int:
        """Go on behind `before` to a stop token where nothing else can follow, which llguidance does not know of. 1 if
        that is what `rest` is, else 0, and nothing changes."""
        if len(rest) != 1 or rest[0] not in self._vocabulary.ends:
            return 0
        self._advance(before)
        if self._inner.is_accepting() and self._inner.stop_reason() != "EndOfSentence":
            self._ended = True
            self.consumed += 1
            return 1
        self.rollback(len(before))
        return 0

    def _advance(self, tokens: list[int]) -> None:
        self._inner.consume_tokens(tokens)
        self.consumed += len(tokens)
        self._mask = None

    def rollback(self, count: int) -> None:
        """Take the last `count` tokens back. Raises Invalid."""
        if count > self.consumed:
            raise Invalid(f"rollback({count}): the constraint has consumed {self.consumed} tokens", "take back fewer")
        if count:
            self._inner.rollback(count - self._ended)
            self._ended = False
            self.consumed -= count
            self._mask = None

    def fork(self) -> Matcher:
        """A matcher at the same place, which goes its own way. Takes some 20 us."""
        other = Matcher.__new__(Matcher)
        other._grammar, other._vocabulary, other._mask = self._grammar, self._vocabulary, self._mask
        other._inner = self._inner.deep_copy()
        other.consumed, other.slow, other._ended = self.consumed, self.slow, self._ended
        return other

    def forced(self) -> list[int]:
        """Tokens that come next whatever is chosen, as the tokenizer would write them; may be empty."""
        return self._inner.compute_ff_tokens()
