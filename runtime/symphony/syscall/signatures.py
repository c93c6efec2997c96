"""The signature of every import that the host offers, by WIT name without versions.

Generated from `wit/` by `make gen`; do not edit. A type is a nested tuple: ("u32",), ("list", T), ("option", T),
("result", T | None, E | None), ("tuple", (T, ...)), ("record", ((name, T), ...)), ("variant", ((case, T | None), ...)),
("enum", (name, ...)), ("flags", (name, ...)), ("own", resource), ("borrow", resource).
"""

from __future__ import annotations

from typing import Any

Type = tuple[Any, ...]
Signature = tuple[tuple[tuple[str, Type], ...], Type | None]

LIP_CONSTRAINT_JSON_SPACING: Type = ("enum", ("spaced", "compact", "flexible"))
LIP_TYPES_ERROR_CODE: Type = (
    "enum",
    (
        "not-found",
        "exists",
        "permission-denied",
        "no-space",
        "busy",
        "limit-exceeded",
        "timed-out",
        "cancelled",
        "invalid",
        "unavailable",
        "internal",
    ),
)
LIP_TYPES_ERROR: Type = ("record", (("code", LIP_TYPES_ERROR_CODE), ("message", ("string",)), ("hint", ("string",))))
LIP_TYPES_TOKEN: Type = ("u32",)
LIP_FETCH_HEADER: Type = ("record", (("name", ("string",)), ("value", ("string",))))
LIP_FETCH_CONTENT: Type = ("variant", (("text", ("string",)), ("base64", ("string",))))
LIP_FETCH_REQUEST: Type = (
    "record",
    (
        ("method", ("string",)),
        ("url", ("string",)),
        ("headers", ("list", LIP_FETCH_HEADER)),
        ("body", ("option", LIP_FETCH_CONTENT)),
        ("timeout-us", ("option", ("u64",))),
    ),
)
LIP_FETCH_RESPONSE: Type = (
    "record",
    (("url", ("string",)), ("status", ("u16",)), ("headers", ("list", LIP_FETCH_HEADER)), ("body", LIP_FETCH_CONTENT)),
)
LIP_TYPES_RANKED: Type = ("record", (("ids", ("list", LIP_TYPES_TOKEN)), ("values", ("list", ("f32",)))))
LIP_INFER_SAMPLING: Type = (
    "record",
    (
        ("temperature", ("option", ("f32",))),
        ("top-k", ("option", ("u32",))),
        ("top-p", ("option", ("f32",))),
        ("min-p", ("option", ("f32",))),
        ("repetition-penalty", ("option", ("f32",))),
        ("presence-penalty", ("option", ("f32",))),
        ("frequency-penalty", ("option", ("f32",))),
        ("logit-bias", ("option", LIP_TYPES_RANKED)),
        ("seed", ("option", ("u64",))),
    ),
)
LIP_INFER_OUTPUTS: Type = ("variant", (("last", None), ("every", None), ("at", ("list", ("u32",))), ("none", None)))
LIP_INFER_ALLOWED_TOKENS: Type = (
    "variant",
    (("mask", ("list", ("u32",))), ("constraint", ("borrow", "symphony:lip/constraint#constraint"))),
)
LIP_INFER_READINGS: Type = (
    "record",
    (
        ("sample", ("option", LIP_INFER_SAMPLING)),
        ("top-k", ("option", ("u32",))),
        ("logprobs", ("option", ("list", LIP_TYPES_TOKEN))),
        ("entropy", ("bool",)),
        ("allowed", ("option", LIP_INFER_ALLOWED_TOKENS)),
    ),
)
LIP_INFER_DISTRIBUTION: Type = (
    "record",
    (
        ("sampled", ("option", LIP_TYPES_TOKEN)),
        ("top", ("option", LIP_TYPES_RANKED)),
        ("logprobs", ("option", ("list", ("f32",)))),
        ("entropy", ("option", ("f32",))),
    ),
)
LIP_INFER_PART: Type = (
    "record",
    (
        ("file", ("borrow", "symphony:lip/kvfs#kv-file")),
        ("tokens", ("list", LIP_TYPES_TOKEN)),
        ("outputs", LIP_INFER_OUTPUTS),
        ("positions", ("option", ("list", ("u32",)))),
        ("masks", ("list", ("list", ("u32",)))),
        ("keep", ("bool",)),
    ),
)
LIP_INFER_DRAFT_SOURCE: Type = (
    "variant",
    (("prompt-lookup", ("u32",)), ("model", ("borrow", "symphony:lip/kvfs#kv-file"))),
)
LIP_INFER_DRAFT: Type = ("record", (("source", LIP_INFER_DRAFT_SOURCE), ("tokens", ("u32",))))
LIP_INFER_GENERATE_OPTIONS: Type = (
    "record",
    (
        ("sampling", LIP_INFER_SAMPLING),
        ("max-tokens", ("u32",)),
        ("stop-tokens", ("list", LIP_TYPES_TOKEN)),
        ("stop-strings", ("list", ("string",))),
        ("logprobs", ("option", ("u32",))),
        ("chunk-tokens", ("u32",)),
        ("chunk-ms", ("u32",)),
        ("constraint", ("option", ("borrow", "symphony:lip/constraint#constraint"))),
        ("draft", ("option", LIP_INFER_DRAFT)),
    ),
)
LIP_INFER_FINISH_REASON: Type = (
    "variant",
    (
        ("stop-token", LIP_TYPES_TOKEN),
        ("stop-string", ("u32",)),
        ("length", None),
        ("context-limit", None),
        ("constraint", None),
        ("cancelled", None),
    ),
)
LIP_INFER_CHUNK: Type = (
    "record",
    (
        ("tokens", ("list", LIP_TYPES_TOKEN)),
        ("text", ("string",)),
        ("logprobs", ("list", ("f32",))),
        ("alternatives", ("list", LIP_TYPES_RANKED)),
        ("finish", ("option", LIP_INFER_FINISH_REASON)),
    ),
)
LIP_IPC_DELIVERY: Type = ("enum", ("one", "all"))
LIP_KVFS_OPEN_FLAGS: Type = ("flags", ("write", "create", "exclusive"))
LIP_KVFS_MODE: Type = (
    "flags",
    ("owner-read", "owner-write", "tenant-read", "tenant-write", "other-read", "other-write"),
)
LIP_KVFS_TIER: Type = ("enum", ("device", "host", "disk", "evicted"))
LIP_KVFS_STAT: Type = (
    "record",
    (
        ("length", ("u32",)),
        ("plain", ("u32",)),
        ("next-position", ("u32",)),
        ("unique-pages", ("u32",)),
        ("shared-pages", ("u32",)),
        ("tier", LIP_KVFS_TIER),
        ("pinned", ("bool",)),
        ("tenant", ("string",)),
        ("owner", ("string",)),
        ("mode", LIP_KVFS_MODE),
        ("created", ("u64",)),
        ("modified", ("u64",)),
        ("used", ("u64",)),
        ("ttl", ("option", ("u32",))),
        ("names", ("u32",)),
    ),
)
LIP_KVFS_ENTRY: Type = ("record", (("name", ("string",)), ("is-directory", ("bool",)), ("length", ("u32",))))
LIP_KVFS_ADVICE: Type = ("enum", ("will-need", "dont-need"))
LIP_KVFS_LOCK_KIND: Type = ("enum", ("shared", "exclusive"))
LIP_TYPES_SPAN: Type = ("record", (("start", ("u32",)), ("end", ("u32",))))
LIP_LOG_LEVEL: Type = ("enum", ("debug", "info", "warn", "error"))
LIP_MODEL_INFO: Type = (
    "record",
    (
        ("name", ("string",)),
        ("vocab-size", ("u32",)),
        ("context-limit", ("u32",)),
        ("page-size", ("u32",)),
        ("stop-tokens", ("list", LIP_TYPES_TOKEN)),
        ("bos-token", ("option", LIP_TYPES_TOKEN)),
    ),
)
LIP_PROCESS_USAGE: Type = (
    "record",
    (
        ("forwards", ("u32",)),
        ("prompt-tokens", ("u32",)),
        ("reused-tokens", ("u32",)),
        ("generated-tokens", ("u32",)),
        ("accepted-tokens", ("u32",)),
        ("pages", ("u32",)),
        ("cpu-us", ("u64",)),
        ("wall-us", ("u64",)),
    ),
)
LIP_PROCESS_LIMITS: Type = (
    "record",
    (
        ("wall-us", ("option", ("u64",))),
        ("cpu-us", ("option", ("u64",))),
        ("nice", ("option", ("s32",))),
        ("tools", ("option", ("list", ("string",)))),
        ("share", ("option", ("bool",))),
    ),
)
LIP_PROCESS_PASSED: Type = ("record", (("name", ("string",)), ("file", ("borrow", "symphony:lip/kvfs#kv-file"))))
LIP_TOOL_DESCRIPTION: Type = ("record", (("name", ("string",)), ("summary", ("string",)), ("schema", ("string",))))
CLOCKS_MONOTONIC_CLOCK_INSTANT: Type = ("u64",)
CLOCKS_MONOTONIC_CLOCK_DURATION: Type = ("u64",)

#: Parameters (methods begin with `self`) and result of every function.
SIGNATURES: dict[str, Signature] = {
    "symphony:lip/constraint#[static]constraint.json-schema": (
        (
            ("model", ("borrow", "symphony:lip/model#model")),
            ("schema", ("string",)),
            ("spacing", ("option", LIP_CONSTRAINT_JSON_SPACING)),
        ),
        ("result", ("own", "symphony:lip/constraint#constraint"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[static]constraint.regex": (
        (("model", ("borrow", "symphony:lip/model#model")), ("pattern", ("string",))),
        ("result", ("own", "symphony:lip/constraint#constraint"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[static]constraint.grammar": (
        (("model", ("borrow", "symphony:lip/model#model")), ("lark", ("string",))),
        ("result", ("own", "symphony:lip/constraint#constraint"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[static]constraint.choice": (
        (("model", ("borrow", "symphony:lip/model#model")), ("options", ("list", ("string",)))),
        ("result", ("own", "symphony:lip/constraint#constraint"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[method]constraint.consume": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")), ("tokens", ("list", LIP_TYPES_TOKEN))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[method]constraint.rollback": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")), ("n", ("u32",))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[method]constraint.fork": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")),),
        ("result", ("own", "symphony:lip/constraint#constraint"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[method]constraint.mask": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")),),
        ("result", ("list", ("u32",)), LIP_TYPES_ERROR),
    ),
    "symphony:lip/constraint#[method]constraint.forced": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")),),
        ("list", LIP_TYPES_TOKEN),
    ),
    "symphony:lip/constraint#[method]constraint.is-complete": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")),),
        ("bool",),
    ),
    "symphony:lip/constraint#[method]constraint.is-done": (
        (("self", ("borrow", "symphony:lip/constraint#constraint")),),
        ("bool",),
    ),
    "symphony:lip/fetch#[method]exchange.subscribe": (
        (("self", ("borrow", "symphony:lip/fetch#exchange")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/fetch#[method]exchange.get": (
        (("self", ("borrow", "symphony:lip/fetch#exchange")),),
        ("option", ("result", LIP_FETCH_RESPONSE, LIP_TYPES_ERROR)),
    ),
    "symphony:lip/fetch#send": (
        (("request", LIP_FETCH_REQUEST),),
        ("result", ("own", "symphony:lip/fetch#exchange"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/infer#[method]prediction.subscribe": (
        (("self", ("borrow", "symphony:lip/infer#prediction")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/infer#[method]prediction.get": (
        (("self", ("borrow", "symphony:lip/infer#prediction")),),
        ("option", ("result", ("list", LIP_INFER_DISTRIBUTION), LIP_TYPES_ERROR)),
    ),
    "symphony:lip/infer#[method]predictions.subscribe": (
        (("self", ("borrow", "symphony:lip/infer#predictions")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/infer#[method]predictions.get": (
        (("self", ("borrow", "symphony:lip/infer#predictions")),),
        ("option", ("list", ("result", ("list", LIP_INFER_DISTRIBUTION), LIP_TYPES_ERROR))),
    ),
    "symphony:lip/infer#[method]predictions.kept": (
        (("self", ("borrow", "symphony:lip/infer#predictions")),),
        ("list", ("own", "symphony:lip/infer#kept-row")),
    ),
    "symphony:lip/infer#[method]generation.subscribe": (
        (("self", ("borrow", "symphony:lip/infer#generation")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/infer#[method]generation.next": (
        (("self", ("borrow", "symphony:lip/infer#generation")),),
        ("option", ("result", LIP_INFER_CHUNK, LIP_TYPES_ERROR)),
    ),
    "symphony:lip/infer#pred": (
        (
            ("file", ("borrow", "symphony:lip/kvfs#kv-file")),
            ("tokens", ("list", LIP_TYPES_TOKEN)),
            ("outputs", LIP_INFER_OUTPUTS),
            ("readings", LIP_INFER_READINGS),
        ),
        ("result", ("own", "symphony:lip/infer#prediction"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/infer#predict": (
        (
            ("file", ("borrow", "symphony:lip/kvfs#kv-file")),
            ("tokens", ("list", LIP_TYPES_TOKEN)),
            ("outputs", LIP_INFER_OUTPUTS),
            ("readings", LIP_INFER_READINGS),
        ),
        ("result", ("list", LIP_INFER_DISTRIBUTION), LIP_TYPES_ERROR),
    ),
    "symphony:lip/infer#pred-all": (
        (("parts", ("list", LIP_INFER_PART)), ("readings", LIP_INFER_READINGS)),
        ("result", ("own", "symphony:lip/infer#predictions"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/infer#predict-all": (
        (("parts", ("list", LIP_INFER_PART)), ("readings", LIP_INFER_READINGS)),
        ("result", ("list", ("result", ("list", LIP_INFER_DISTRIBUTION), LIP_TYPES_ERROR)), LIP_TYPES_ERROR),
    ),
    "symphony:lip/infer#ask": (
        (("rows", ("list", ("borrow", "symphony:lip/infer#kept-row"))), ("readings", LIP_INFER_READINGS)),
        ("result", ("list", LIP_INFER_DISTRIBUTION), LIP_TYPES_ERROR),
    ),
    "symphony:lip/infer#generate": (
        (
            ("file", ("borrow", "symphony:lip/kvfs#kv-file")),
            ("tokens", ("list", LIP_TYPES_TOKEN)),
            ("options", LIP_INFER_GENERATE_OPTIONS),
        ),
        ("result", ("own", "symphony:lip/infer#generation"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/ipc#[method]message.subscribe": (
        (("self", ("borrow", "symphony:lip/ipc#message")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/ipc#[method]message.get": (
        (("self", ("borrow", "symphony:lip/ipc#message")),),
        ("option", ("result", ("string",), LIP_TYPES_ERROR)),
    ),
    "symphony:lip/ipc#[static]channel.open": (
        (("name", ("string",)), ("kind", LIP_IPC_DELIVERY)),
        ("result", ("own", "symphony:lip/ipc#channel"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/ipc#[method]channel.send": (
        (("self", ("borrow", "symphony:lip/ipc#channel")), ("text", ("string",))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/ipc#[method]channel.room": (
        (("self", ("borrow", "symphony:lip/ipc#channel")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/ipc#[method]channel.receive": (
        (("self", ("borrow", "symphony:lip/ipc#channel")),),
        ("result", ("own", "symphony:lip/ipc#message"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/ipc#emit": ((("text", ("string",)),), ("result", None, LIP_TYPES_ERROR)),
    "symphony:lip/ipc#receive": ((), ("result", ("own", "symphony:lip/ipc#message"), LIP_TYPES_ERROR)),
    "symphony:lip/kvfs#[method]lock.subscribe": (
        (("self", ("borrow", "symphony:lip/kvfs#lock")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/kvfs#[method]lock.held": ((("self", ("borrow", "symphony:lip/kvfs#lock")),), ("bool",)),
    "symphony:lip/kvfs#[method]syncing.subscribe": (
        (("self", ("borrow", "symphony:lip/kvfs#syncing")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/kvfs#[method]syncing.get": (
        (("self", ("borrow", "symphony:lip/kvfs#syncing")),),
        ("option", ("result", None, LIP_TYPES_ERROR)),
    ),
    "symphony:lip/kvfs#[static]kv-file.create": (
        (("model", ("borrow", "symphony:lip/model#model")),),
        ("result", ("own", "symphony:lip/kvfs#kv-file"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[static]kv-file.open": (
        (("model", ("borrow", "symphony:lip/model#model")), ("path", ("string",)), ("how", LIP_KVFS_OPEN_FLAGS)),
        ("result", ("own", "symphony:lip/kvfs#kv-file"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.fork": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")),),
        ("result", ("own", "symphony:lip/kvfs#kv-file"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.length": ((("self", ("borrow", "symphony:lip/kvfs#kv-file")),), ("u32",)),
    "symphony:lip/kvfs#[method]kv-file.tokens": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("range", LIP_TYPES_SPAN)),
        ("result", ("list", LIP_TYPES_TOKEN), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.truncate": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("length", ("u32",))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.extract": (
        (
            ("self", ("borrow", "symphony:lip/kvfs#kv-file")),
            ("ranges", ("list", LIP_TYPES_SPAN)),
            ("rebase", ("bool",)),
        ),
        ("result", ("own", "symphony:lip/kvfs#kv-file"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.append-from": (
        (
            ("self", ("borrow", "symphony:lip/kvfs#kv-file")),
            ("other", ("borrow", "symphony:lip/kvfs#kv-file")),
            ("range", LIP_TYPES_SPAN),
        ),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.pin": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")),),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.unpin": ((("self", ("borrow", "symphony:lip/kvfs#kv-file")),), None),
    "symphony:lip/kvfs#[method]kv-file.advise": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("what", LIP_KVFS_ADVICE)),
        None,
    ),
    "symphony:lip/kvfs#[method]kv-file.save": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("path", ("string",)), ("overwrite", ("bool",))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.link": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("path", ("string",))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.stat": ((("self", ("borrow", "symphony:lip/kvfs#kv-file")),), LIP_KVFS_STAT),
    "symphony:lip/kvfs#[method]kv-file.sync": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")),),
        ("result", ("own", "symphony:lip/kvfs#syncing"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.set-mode": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("mode", LIP_KVFS_MODE)),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.set-ttl": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("seconds", ("option", ("u32",)))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.lock": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("kind", LIP_KVFS_LOCK_KIND)),
        ("result", ("own", "symphony:lip/kvfs#lock"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.try-lock": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")), ("kind", LIP_KVFS_LOCK_KIND)),
        ("result", ("own", "symphony:lip/kvfs#lock"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#[method]kv-file.idle": (
        (("self", ("borrow", "symphony:lip/kvfs#kv-file")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/kvfs#list": ((("path", ("string",)),), ("result", ("list", LIP_KVFS_ENTRY), LIP_TYPES_ERROR)),
    "symphony:lip/kvfs#glob": ((("pattern", ("string",)),), ("result", ("list", ("string",)), LIP_TYPES_ERROR)),
    "symphony:lip/kvfs#stat-path": ((("path", ("string",)),), ("result", LIP_KVFS_STAT, LIP_TYPES_ERROR)),
    "symphony:lip/kvfs#sync": (
        (("path", ("string",)),),
        ("result", ("own", "symphony:lip/kvfs#syncing"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/kvfs#mkdir": ((("path", ("string",)),), ("result", None, LIP_TYPES_ERROR)),
    "symphony:lip/kvfs#rename": ((("old", ("string",)), ("new", ("string",))), ("result", None, LIP_TYPES_ERROR)),
    "symphony:lip/kvfs#unlink": ((("path", ("string",)),), ("result", None, LIP_TYPES_ERROR)),
    "symphony:lip/log#write": ((("at", LIP_LOG_LEVEL), ("text", ("string",))), None),
    "symphony:lip/model#[static]model.open": (
        (("name", ("option", ("string",))),),
        ("result", ("own", "symphony:lip/model#model"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/model#[method]model.info": ((("self", ("borrow", "symphony:lip/model#model")),), LIP_MODEL_INFO),
    "symphony:lip/model#[method]model.tokenize": (
        (("self", ("borrow", "symphony:lip/model#model")), ("text", ("string",)), ("special", ("bool",))),
        ("result", ("list", LIP_TYPES_TOKEN), LIP_TYPES_ERROR),
    ),
    "symphony:lip/model#[method]model.detokenize": (
        (("self", ("borrow", "symphony:lip/model#model")), ("tokens", ("list", LIP_TYPES_TOKEN))),
        ("result", ("string",), LIP_TYPES_ERROR),
    ),
    "symphony:lip/model#[method]model.decoder": (
        (("self", ("borrow", "symphony:lip/model#model")),),
        ("own", "symphony:lip/model#decoder"),
    ),
    "symphony:lip/model#[method]model.render-chat": (
        (("self", ("borrow", "symphony:lip/model#model")), ("conversation", ("string",))),
        ("result", ("string",), LIP_TYPES_ERROR),
    ),
    "symphony:lip/model#[method]decoder.push": (
        (("self", ("borrow", "symphony:lip/model#decoder")), ("tokens", ("list", LIP_TYPES_TOKEN))),
        ("result", ("string",), LIP_TYPES_ERROR),
    ),
    "symphony:lip/model#[method]decoder.finish": ((("self", ("borrow", "symphony:lip/model#decoder")),), ("string",)),
    "symphony:lip/model#list-models": ((), ("list", ("string",))),
    "symphony:lip/process#[method]child.pid": ((("self", ("borrow", "symphony:lip/process#child")),), ("u64",)),
    "symphony:lip/process#[method]child.subscribe": (
        (("self", ("borrow", "symphony:lip/process#child")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/process#[method]child.get": (
        (("self", ("borrow", "symphony:lip/process#child")),),
        ("option", ("result", ("string",), LIP_TYPES_ERROR)),
    ),
    "symphony:lip/process#[method]child.send": (
        (("self", ("borrow", "symphony:lip/process#child")), ("text", ("string",))),
        ("result", None, LIP_TYPES_ERROR),
    ),
    "symphony:lip/process#[method]child.room": (
        (("self", ("borrow", "symphony:lip/process#child")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/process#[method]child.kill": ((("self", ("borrow", "symphony:lip/process#child")),), None),
    "symphony:lip/process#[method]child.detach": ((("self", ("borrow", "symphony:lip/process#child")),), None),
    "symphony:lip/process#pid": ((), ("u64",)),
    "symphony:lip/process#tenant": ((), ("string",)),
    "symphony:lip/process#usage-so-far": ((), LIP_PROCESS_USAGE),
    "symphony:lip/process#spawn": (
        (
            ("program", ("string",)),
            ("args", ("string",)),
            ("limits", LIP_PROCESS_LIMITS),
            ("files", ("list", LIP_PROCESS_PASSED)),
        ),
        ("result", ("own", "symphony:lip/process#child"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/process#inherit": (
        (("model", ("borrow", "symphony:lip/model#model")), ("name", ("string",))),
        ("result", ("own", "symphony:lip/kvfs#kv-file"), LIP_TYPES_ERROR),
    ),
    "symphony:lip/tool#[method]tool-call.subscribe": (
        (("self", ("borrow", "symphony:lip/tool#tool-call")),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "symphony:lip/tool#[method]tool-call.get": (
        (("self", ("borrow", "symphony:lip/tool#tool-call")),),
        ("option", ("result", ("string",), LIP_TYPES_ERROR)),
    ),
    "symphony:lip/tool#list": ((), ("list", LIP_TOOL_DESCRIPTION)),
    "symphony:lip/tool#call": (
        (("name", ("string",)), ("arguments", ("string",))),
        ("result", ("own", "symphony:lip/tool#tool-call"), LIP_TYPES_ERROR),
    ),
    "wasi:clocks/monotonic-clock#now": ((), CLOCKS_MONOTONIC_CLOCK_INSTANT),
    "wasi:clocks/monotonic-clock#resolution": ((), CLOCKS_MONOTONIC_CLOCK_DURATION),
    "wasi:clocks/monotonic-clock#subscribe-instant": (
        (("when", CLOCKS_MONOTONIC_CLOCK_INSTANT),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "wasi:clocks/monotonic-clock#subscribe-duration": (
        (("when", CLOCKS_MONOTONIC_CLOCK_DURATION),),
        ("own", "wasi:io/poll#pollable"),
    ),
    "wasi:io/poll#[method]pollable.ready": ((("self", ("borrow", "wasi:io/poll#pollable")),), ("bool",)),
    "wasi:io/poll#[method]pollable.block": ((("self", ("borrow", "wasi:io/poll#pollable")),), None),
    "wasi:io/poll#poll": ((("in", ("list", ("borrow", "wasi:io/poll#pollable"))),), ("list", ("u32",))),
}

#: Every resource, by the id that own and borrow types carry.
RESOURCES: tuple[str, ...] = (
    "symphony:lip/constraint#constraint",
    "symphony:lip/fetch#exchange",
    "symphony:lip/infer#prediction",
    "symphony:lip/infer#predictions",
    "symphony:lip/infer#kept-row",
    "symphony:lip/infer#generation",
    "symphony:lip/ipc#message",
    "symphony:lip/ipc#channel",
    "symphony:lip/kvfs#lock",
    "symphony:lip/kvfs#syncing",
    "symphony:lip/kvfs#kv-file",
    "symphony:lip/model#model",
    "symphony:lip/model#decoder",
    "symphony:lip/process#child",
    "symphony:lip/tool#tool-call",
    "wasi:io/poll#pollable",
)
