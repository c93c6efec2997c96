"""The fake engine's vocabulary, bytes, and its chat template. It knows nothing of engines."""

from __future__ import annotations

from symphony.engine.tokenizer import Tokenizer, check_length
from symphony.errors import Invalid

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class ByteTokenizer(Tokenizer):
    """Ids 0 to 255 are bytes, then come the special tokens, then ids that stand for nothing."""

    def __init__(self, vocab_size: int = 256 + len(SPECIAL)) -> None:
        self._size = vocab_size
        self._strip = False
        self._ids = {text: 256 + i for i, text in enumerate(SPECIAL)}
        self._special = frozenset(self._ids.values())
        self._pieces = dict.fromkeys(range(vocab_size), b"")
        self._pieces |= {byte: bytes([byte]) for byte in range(256)}
        self._pieces |= {token: text.encode() for text, token in self._ids.items()}
        self._added = {}

    @property
    def definition(self) -> str | None:
        return None

    def encode(self, text: str, special: bool) -> list[int]:
        check_length(text)
        if not special:
            return list(text.encode())
        tokens: list[int] = []
        rest = text
        while rest:
            hits = [(at, name) for name in SPECIAL if (at := rest.find(name)) >= 0]
            at, name = min(hits, default=(len(rest), ""))
            tokens += rest[:at].encode()
            if name:
                tokens.append(self._ids[name])
            rest = rest[at + len(name) :]
        return tokens

    def _look_up(self, token: int) -> bytes:
        raise Invalid(f"token id {token} is outside the vocabulary", f"this model's ids are 0 to {self._size - 1}")
