"""The ABI's records, variants, enums and flags, one class an interface.

Generated from `wit/` by `make gen`; do not edit. They are what componentize-py makes of `wit/` inside Wasm.
"""

# ruff: noqa: N801
from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag
from typing import Any


class constraint:
    class JsonSpacing(Enum):
        SPACED = 0
        COMPACT = 1
        FLEXIBLE = 2


class fetch:
    @dataclass
    class Header:
        name: Any
        value: Any

    @dataclass
    class Content_Text:
        value: Any

    @dataclass
    class Content_Base64:
        value: Any

    @dataclass
    class Request:
        method: Any
        url: Any
        headers: Any
        body: Any
        timeout_us: Any

    @dataclass
    class Response:
        url: Any
        status: Any
        headers: Any
        body: Any


class infer:
    @dataclass
    class Sampling:
        temperature: Any
        top_k: Any
        top_p: Any
        min_p: Any
        repetition_penalty: Any
        presence_penalty: Any
        frequency_penalty: Any
        logit_bias: Any
        seed: Any

    @dataclass
    class Outputs_Last:
        pass

    @dataclass
    class Outputs_Every:
        pass

    @dataclass
    class Outputs_At:
        value: Any

    @dataclass
    class Outputs_None_:
        pass

    @dataclass
    class AllowedTokens_Mask:
        value: Any

    @dataclass
    class AllowedTokens_Constraint:
        value: Any

    @dataclass
    class Readings:
        sample: Any
        top_k: Any
        logprobs: Any
        entropy: Any
        allowed: Any

    @dataclass
    class Distribution:
        sampled: Any
        top: Any
        logprobs: Any
        entropy: Any

    @dataclass
    class Part:
        file: Any
        tokens: Any
        outputs: Any
        positions: Any
        masks: Any
        keep: Any

    @dataclass
    class DraftSource_PromptLookup:
        value: Any

    @dataclass
    class DraftSource_Model:
        value: Any

    @dataclass
    class Draft:
        source: Any
        tokens: Any

    @dataclass
    class GenerateOptions:
        sampling: Any
        max_tokens: Any
        stop_tokens: Any
        stop_strings: Any
        logprobs: Any
        chunk_tokens: Any
        chunk_ms: Any
        constraint: Any
        draft: Any

    @dataclass
    class FinishReason_StopToken:
        value: Any

    @dataclass
    class FinishReason_StopString:
        value: Any

    @dataclass
    class FinishReason_Length:
        pass

    @dataclass
    class FinishReason_ContextLimit:
        pass

    @dataclass
    class FinishReason_Constraint:
        pass

    @dataclass
    class FinishReason_Cancelled:
        pass

    @dataclass
    class Chunk:
        tokens: Any
        text: Any
        logprobs: Any
        alternatives: Any
        finish: Any


class ipc:
    class Delivery(Enum):
        ONE = 0
        ALL = 1


class kvfs:
    class OpenFlags(Flag):
        WRITE = 1
        CREATE = 2
        EXCLUSIVE = 4

    class Mode(Flag):
        OWNER_READ = 1
        OWNER_WRITE = 2
        TENANT_READ = 4
        TENANT_WRITE = 8
        OTHER_READ = 16
        OTHER_WRITE = 32

    class Tier(Enum):
        DEVICE = 0
        HOST = 1
        DISK = 2
        EVICTED = 3

    @dataclass
    class Stat:
        length: Any
        plain: Any
        next_position: Any
        unique_pages: Any
        shared_pages: Any
        tier: Any
        pinned: Any
        tenant: Any
        owner: Any
        mode: Any
        created: Any
        modified: Any
        used: Any
        ttl: Any
        names: Any

    @dataclass
    class Entry:
        name: Any
        is_directory: Any
        length: Any

    class Advice(Enum):
        WILL_NEED = 0
        DONT_NEED = 1

    class LockKind(Enum):
        SHARED = 0
        EXCLUSIVE = 1


class log:
    class Level(Enum):
        DEBUG = 0
        INFO = 1
        WARN = 2
        ERROR = 3


class model:
    @dataclass
    class Info:
        name: Any
        vocab_size: Any
        context_limit: Any
        page_size: Any
        stop_tokens: Any
        bos_token: Any


class process:
    @dataclass
    class Usage:
        forwards: Any
        prompt_tokens: Any
        reused_tokens: Any
        generated_tokens: Any
        accepted_tokens: Any
        pages: Any
        cpu_us: Any
        wall_us: Any

    @dataclass
    class Limits:
        wall_us: Any
        cpu_us: Any
        nice: Any
        tools: Any
        share: Any

    @dataclass
    class Passed:
        name: Any
        file: Any


class tool:
    @dataclass
    class Description:
        name: Any
        summary: Any
        schema: Any


class types:
    class ErrorCode(Enum):
        NOT_FOUND = 0
        EXISTS = 1
        PERMISSION_DENIED = 2
        NO_SPACE = 3
        BUSY = 4
        LIMIT_EXCEEDED = 5
        TIMED_OUT = 6
        CANCELLED = 7
        INVALID = 8
        UNAVAILABLE = 9
        INTERNAL = 10

    @dataclass
    class Error:
        code: Any
        message: Any
        hint: Any

    @dataclass
    class Span:
        start: Any
        end: Any

    @dataclass
    class Ranked:
        ids: Any
        values: Any
