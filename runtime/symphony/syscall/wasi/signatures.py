"""Signatures of the WASI functions that the host answers itself, against which a component's own are compared.

Form: key -> (parameters as (name, type), result); types as `sandbox.reflect` makes them. Source: the WIT files of WASI
0.2.9; a test compares them with what a componentize-py guest declares.
"""

from __future__ import annotations

from typing import Any

Type = tuple[Any, ...]
Signature = tuple[tuple[tuple[str, Type], ...], Type | None]

_BOOL, _U8, _U32, _U64, _TEXT = ("bool",), ("u8",), ("u32",), ("u64",), ("string",)
_BYTES = ("list", _U8)
_POLLABLE = "wasi:io/poll#pollable"
_ERROR = "wasi:io/error#error"
_IN = "wasi:io/streams#input-stream"
_OUT = "wasi:io/streams#output-stream"
_DESCRIPTOR = "wasi:filesystem/types#descriptor"
_ENTRIES = "wasi:filesystem/types#directory-entry-stream"

_DATETIME = ("record", (("seconds", _U64), ("nanoseconds", _U32)))
_STREAM_ERROR = ("variant", (("last-operation-failed", ("own", _ERROR)), ("closed", None)))
_ERROR_CODES = """
    access would-block already bad-descriptor busy deadlock quota exist file-too-large illegal-byte-sequence in-progress
    interrupted invalid io is-directory loop too-many-links message-size name-too-long no-device no-entry no-lock
    insufficient-memory insufficient-space not-directory not-empty not-recoverable unsupported no-tty no-such-device
    overflow not-permitted pipe read-only invalid-seek text-file-busy cross-device
"""
_ERROR_CODE = ("enum", tuple(_ERROR_CODES.split()))
_DESCRIPTOR_TYPE = (
    "enum",
    ("unknown", "block-device", "character-device", "directory", "fifo", "symbolic-link", "regular-file", "socket"),
)
_DESCRIPTOR_FLAGS = (
    "flags",
    ("read", "write", "file-integrity-sync", "data-integrity-sync", "requested-write-sync", "mutate-directory"),
)
_DESCRIPTOR_STAT = (
    "record",
    (
        ("type", _DESCRIPTOR_TYPE),
        ("link-count", _U64),
        ("size", _U64),
        ("data-access-timestamp", ("option", _DATETIME)),
        ("data-modification-timestamp", ("option", _DATETIME)),
        ("status-change-timestamp", ("option", _DATETIME)),
    ),
)
_HASH = ("record", (("lower", _U64), ("upper", _U64)))
_PATH = (("path-flags", ("flags", ("symlink-follow",))), ("path", _TEXT))


def _own(resource: str) -> Type:
    return ("own", resource)


def _plain(result: Type | None, **parameters: Type) -> Signature:
    return tuple(parameters.items()), result


def _method(resource: str, result: Type | None, *parameters: tuple[str, Type]) -> Signature:
    return (("self", ("borrow", resource)), *parameters), result


def _stream(resource: str, ok: Type | None, *parameters: tuple[str, Type]) -> Signature:
    return _method(resource, ("result", ok, _STREAM_ERROR), *parameters)


def _file(ok: Type, *parameters: tuple[str, Type], resource: str = _DESCRIPTOR) -> Signature:
    return _method(resource, ("result", ok, _ERROR_CODE), *parameters)


def _terminal(name: str) -> Signature:
    return _plain(("option", _own(f"wasi:cli/terminal-{name}#terminal-{name}")))


def _prefixed(prefix: str, functions: dict[str, Signature]) -> dict[str, Signature]:
    return {prefix + name: signature for name, signature in functions.items()}


_LEN, _CONTENTS = ("len", _U64), ("contents", _BYTES)
_SOURCE = ("src", ("borrow", _IN))

SIGNATURES: dict[str, Signature] = {
    "wasi:io/poll#poll": (((("in", ("list", ("borrow", _POLLABLE)))),), ("list", _U32)),
    "wasi:io/poll#[method]pollable.ready": _method(_POLLABLE, _BOOL),
    "wasi:io/poll#[method]pollable.block": _method(_POLLABLE, None),
    "wasi:io/error#[method]error.to-debug-string": _method(_ERROR, _TEXT),
    **_prefixed(
        "wasi:io/streams#[method]input-stream.",
        {
            "read": _stream(_IN, _BYTES, _LEN),
            "blocking-read": _stream(_IN, _BYTES, _LEN),
            "skip": _stream(_IN, _U64, _LEN),
            "blocking-skip": _stream(_IN, _U64, _LEN),
            "subscribe": _method(_IN, _own(_POLLABLE)),
        },
    ),
    **_prefixed(
        "wasi:io/streams#[method]output-stream.",
        {
            "check-write": _stream(_OUT, _U64),
            "write": _stream(_OUT, None, _CONTENTS),
            "blocking-write-and-flush": _stream(_OUT, None, _CONTENTS),
            "write-zeroes": _stream(_OUT, None, _LEN),
            "blocking-write-zeroes-and-flush": _stream(_OUT, None, _LEN),
            "flush": _stream(_OUT, None),
            "blocking-flush": _stream(_OUT, None),
            "splice": _stream(_OUT, _U64, _SOURCE, _LEN),
            "blocking-splice": _stream(_OUT, _U64, _SOURCE, _LEN),
            "subscribe": _method(_OUT, _own(_POLLABLE)),
        },
    ),
    **_prefixed(
        "wasi:clocks/monotonic-clock#",
        {
            "now": _plain(_U64),
            "resolution": _plain(_U64),
            "subscribe-instant": _plain(_own(_POLLABLE), when=_U64),
            "subscribe-duration": _plain(_own(_POLLABLE), when=_U64),
        },
    ),
    **_prefixed("wasi:clocks/wall-clock#", {"now": _plain(_DATETIME), "resolution": _plain(_DATETIME)}),
    "wasi:random/random#get-random-bytes": _plain(_BYTES, len=_U64),
    "wasi:random/random#get-random-u64": _plain(_U64),
    "wasi:random/insecure#get-insecure-random-bytes": _plain(_BYTES, len=_U64),
    "wasi:random/insecure#get-insecure-random-u64": _plain(_U64),
    "wasi:random/insecure-seed#insecure-seed": _plain(("tuple", (_U64, _U64))),
    "wasi:cli/environment#get-environment": _plain(("list", ("tuple", (_TEXT, _TEXT)))),
    "wasi:cli/environment#get-arguments": _plain(("list", _TEXT)),
    "wasi:cli/environment#initial-cwd": _plain(("option", _TEXT)),
    "wasi:cli/exit#exit": _plain(None, status=("result", None, None)),
    "wasi:cli/exit#exit-with-code": ((("status-code", _U8),), None),
    "wasi:cli/stdin#get-stdin": _plain(_own(_IN)),
    "wasi:cli/stdout#get-stdout": _plain(_own(_OUT)),
    "wasi:cli/stderr#get-stderr": _plain(_own(_OUT)),
    "wasi:cli/terminal-stdin#get-terminal-stdin": _terminal("input"),
    "wasi:cli/terminal-stdout#get-terminal-stdout": _terminal("output"),
    "wasi:cli/terminal-stderr#get-terminal-stderr": _terminal("output"),
    "wasi:filesystem/preopens#get-directories": _plain(("list", ("tuple", (_own(_DESCRIPTOR), _TEXT)))),
    **_prefixed(
        "wasi:filesystem/types#[method]descriptor.",
        {
            "get-flags": _file(_DESCRIPTOR_FLAGS),
            "get-type": _file(_DESCRIPTOR_TYPE),
            "stat": _file(_DESCRIPTOR_STAT),
            "stat-at": _file(_DESCRIPTOR_STAT, *_PATH),
            "open-at": _file(
                _own(_DESCRIPTOR),
                *_PATH,
                ("open-flags", ("flags", ("create", "directory", "exclusive", "truncate"))),
                ("flags", _DESCRIPTOR_FLAGS),
            ),
            "read-directory": _file(_own(_ENTRIES)),
            "readlink-at": _file(_TEXT, ("path", _TEXT)),
            "metadata-hash": _file(_HASH),
            "metadata-hash-at": _file(_HASH, *_PATH),
        },
    ),
    "wasi:filesystem/types#[method]directory-entry-stream.read-directory-entry": _file(
        ("option", ("record", (("type", _DESCRIPTOR_TYPE), ("name", _TEXT)))), resource=_ENTRIES
    ),
    "wasi:filesystem/types#filesystem-error-code": (
        (("err", ("borrow", _ERROR)),),
        ("option", _ERROR_CODE),
    ),
}
