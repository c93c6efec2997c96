"""The sandbox: one wasmtime engine with its pools, programs loaded into it, instances made from them.

The only package that imports wasmtime. Bytes in, `Instance`s out; who calls, and when, is `process`' business.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wasmtime import WasmtimeError
from wasmtime.component import Component, ExportIndex, FuncType

from symphony.errors import InvalidProgram, Unavailable
from symphony.sandbox import abi
from symphony.sandbox.binary import top_level_names
from symphony.sandbox.codec import Codec
from symphony.sandbox.config import (
    InstanceLimits,
    SandboxConfig,
    check_version,
    engine_key,
    lowered,
    running_engine,
)
from symphony.sandbox.instance import SLOT_BYTES, Instance
from symphony.sandbox.linker import Binding, Linkage, Linker
from symphony.sandbox.outcome import HOST_FAILURE
from symphony.sandbox.reflect import Reflector, Signature
from symphony.syscall import wasi
from symphony.syscall.values import Handler

_RUN: Signature = ((("args", ("string",)),), ("result", ("string",), ("string",)))
_RUN_TEXT = "run: func(args: string) -> result<string, string>"


class LoadedProgram:
    """A compiled component that passed all checks, linked. Constant; keeps what its instances need alive."""

    __slots__ = ("__weakref__", "code", "component", "component_address", "linkage", "run", "run_address")

    def __init__(self, component: Component, linkage: Linkage, run: ExportIndex, code: Path) -> None:
        self.component = component
        self.code = code
        """Where its machine code lies."""
        self.component_address = abi.address(component.ptr())
        self.linkage = linkage
        self.run = run
        self.run_address = abi.address(run.ptr())

    def close(self) -> None:
        """Release the native code; no instance of it is alive. What is left of this object is of no use."""
        self.run.close()
        self.component.close()
        self.linkage.linker.close()


class Sandbox:
    """One engine. All methods belong to the event-loop thread."""

    def __init__(
        self,
        config: SandboxConfig,
        handlers: Mapping[str, Handler],
        reference: Mapping[str, Signature] | None = None,
        former: Mapping[str, tuple[Signature, ...]] | None = None,
    ) -> None:
        """`handlers` and `reference` are keyed `'symphony:lip/infer#pred'`, without versions; WASI's are built in.
        `former` has further signatures under which components may know these functions. Default: those of `wit/`.

        Raises Unavailable where the machine cannot hold `config.max_instances`.
        """
        check_version()
        self.config = config
        self.engine_key = engine_key(config)
        self._loaded: weakref.WeakSet[LoadedProgram] = weakref.WeakSet()
        self.current: Instance | None = None
        """Whose fiber runs: what callbacks refer to."""
        self._engine = running_engine(config)
        self.engine_address = abi.address(self._engine.ptr())
        signatures = {**wasi.SIGNATURES, **(_generated() if reference is None else reference)}
        earlier = _generated_former() if former is None else former
        bindings: dict[int, Binding] = {}
        self._linker = Linker(
            self._engine,
            {**wasi.HANDLERS, **handlers},
            signatures,
            earlier,
            bindings,
            _host_call(self, bindings),
            _destructor(self),
        )
        codec = Codec({})
        self.write_string = codec.writer(("string",))
        self.read_result = codec.reader(("result", ("string",), ("string",)))
        self._slots = (ctypes.c_uint8 * (SLOT_BYTES * config.max_instances))()
        first = ctypes.addressof(self._slots)
        self._free = [first + SLOT_BYTES * i for i in reversed(range(config.max_instances))]

    # --- programs -----------------------------------------------------------------------------------------------------
    def check(self, wasm: bytes) -> None:
        """Look at an upload before compiling it: magic, export `run`, names of imports. Raises InvalidProgram."""
        imports, exports = top_level_names(wasm)
        if "run" not in exports:
            raise InvalidProgram(_no_run(exports), f"export `{_RUN_TEXT}`")
        unknown = [name for name in imports if not name.startswith(("symphony:lip/", "wasi:"))]
        if unknown:
            raise InvalidProgram(
                f"the component imports what this host does not offer: {', '.join(unknown[:10])}",
                "imports come from `symphony:lip` (see docs/syscalls.md) and WASI 0.2",
            )

    def load(self, cwasm: Path) -> LoadedProgram:
        """A program from the host's own compile cache (native code: never from elsewhere). Checks its world, type by
        type. Costs milliseconds. Raises InvalidProgram."""
        try:
            component = Component.deserialize_file(self._engine, str(cwasm))
        except WasmtimeError as error:
            raise InvalidProgram(f"the compiled program cannot be loaded: {error}", "compile it again") from None
        reflector = Reflector(self._engine, component, self._linker.offers)
        run = reflector.export("run")
        if not isinstance(run, FuncType):
            raise InvalidProgram(_no_run([]), f"export `{_RUN_TEXT}`")
        parameters, result = reflector.signature(run, "run")
        if [t for _, t in parameters] != [t for _, t in _RUN[0]] or result != _RUN[1]:
            raise InvalidProgram("the component's export `run` has another type", f"export `{_RUN_TEXT}`")
        linkage = self._linker.link(reflector.imports())
        index = component.get_export_index("run")
        assert index is not None
        program = LoadedProgram(component, linkage, index, cwasm)
        self._loaded.add(program)
        return program

    # --- instances ----------------------------------------------------------------------------------------------------
    def instantiate(
        self, program: LoadedProgram, caller: Any, limits: InstanceLimits, on_wake: Callable[[Instance], None]
    ) -> Instance:
        """A new instance; nothing of it runs yet. `on_wake(instance)`: it waited, and now has something to do.

        Raises Unavailable where `max_instances` are alive.
        """
        if not self._free:
            raise Unavailable(
                f"{self.config.max_instances} instances are alive, the sandbox's limit", "try again later"
            )
        return Instance(self, program, caller, lowered(self.config, limits), on_wake, self._free.pop())

    @property
    def live(self) -> int:
        """Instances alive."""
        return self.config.max_instances - len(self._free)

    def release_slot(self, slot: int) -> None:
        """By an instance at its end."""
        self._free.append(slot)

    def close(self) -> None:
        """Release the engine, its pools, and all programs loaded into it. No instance is alive."""
        if self.live:
            raise Unavailable(f"{self.live} instances are alive", "end them before closing the sandbox")
        for program in self._loaded:  # each holds on to the engine, whose pools are terabytes of address space
            program.close()
        self._engine.close()


# --- callbacks, on a guest's fiber: a small stack, and nothing may escape ---------------------------------------------


def _host_call(sandbox: Sandbox, bindings: Mapping[int, Binding]) -> Any:
    """The guest calls the host: decode, and leave the call pending. The answer comes from the main stack."""
    memory, write_continuation, answered = abi.MEMORY, abi.write_continuation, abi.ANSWERED

    def on_call(
        number: int,
        context: int,
        _type: int,
        arguments: int,
        _count: int,
        results: int,
        _results: int,
        error: int,
        continuation: int,
    ) -> None:
        instance: Any = None
        try:
            instance = sandbox.current
            slot = instance._slot
            memory[slot] = 0
            write_continuation(memory, continuation, answered, slot, 0)
            binding = bindings[number]
            instance._arguments = binding.read(arguments, context, instance.handles)
            instance._results = results
            instance._binding = binding
        except BaseException as failure:
            if instance is not None:
                instance._failure = failure
            abi.write_word(memory, error, abi.error_new(HOST_FAILURE))

    return abi.HostCall(on_call)


def _destructor(sandbox: Sandbox) -> Any:
    """The guest drops an own handle: queue the object for the main stack."""

    def on_drop(_env: int, _context: int, rep: int) -> int:
        instance: Any = None
        try:
            instance = sandbox.current
            instance._drops.append(instance.handles.pop(rep, None))
        except BaseException as failure:
            if instance is not None:
                instance._failure = failure
        return 0

    return abi.Destructor(on_drop)


def _generated() -> Mapping[str, Signature]:
    """The signatures of `wit/`, made by `make gen`."""
    from symphony.syscall.signatures import SIGNATURES

    return SIGNATURES


def _generated_former() -> Mapping[str, tuple[Signature, ...]]:
    """Those of released versions that differ from them, made likewise."""
    from symphony.syscall.former import FORMER

    return FORMER


def _no_run(exports: list[str]) -> str:
    if any(name.startswith("wasi:cli/run") for name in exports):
        return "the component is a WASI command, but a LIP exports `run`"
    seen = f"; it exports {', '.join(exports[:10])}" if exports else ""
    return f"the component does not export `run`{seen}"
