"""What the sandbox's wasmtime engine is made of: settings, pools, compile.

The same settings must hold where programs are compiled and where they run; `engine_key` identifies them. Source of the
numbers: `symphony.param`; of the settings: docs/adr/0001 and docs/security.md. Knows nothing of guests.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import mmap
import platform
from dataclasses import dataclass
from pathlib import Path

from wasmtime import Config, Engine, WasmtimeError
from wasmtime.component import Component

from symphony import param
from symphony.errors import InvalidProgram, Unavailable
from symphony.sandbox import abi
from symphony.sandbox.binary import check_magic


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """Limits of one sandbox; units are those of `symphony.param`."""

    max_instances: int = param.MAX_INSTANCES
    memory_bytes: int = param.GUEST_MEMORY_BYTES
    memories: int = param.GUEST_MEMORIES
    tables: int = param.GUEST_TABLES
    table_elements: int = param.GUEST_TABLE_ELEMENTS
    core_instances: int = param.GUEST_CORE_INSTANCES
    pooled_core_instances: int = param.POOLED_CORE_INSTANCES
    stack_bytes: int = param.GUEST_STACK_BYTES
    memory_reservation: int = param.MEMORY_RESERVATION_BYTES
    fuel_slice: int = param.FUEL_SLICE


@dataclass(frozen=True, slots=True)
class InstanceLimits:
    """Limits of one instance; they only lower those of its sandbox."""

    memory_bytes: int = param.GUEST_MEMORY_BYTES
    fuel: int = int(param.DEFAULT_CPU_SECONDS * param.FUEL_PER_SECOND)
    """All the fuel it may burn: its CPU limit."""
    handles: int = param.GUEST_HANDLES


_OFF = (
    "wasm_threads",
    "shared_memory",
    "wasm_gc",
    "gc_support",
    "wasm_exceptions",
    "wasm_function_references",
    "wasm_memory64",
    "wasm_multi_memory",
    "wasm_tail_call",
    "wasm_relaxed_simd",
    "wasm_wide_arithmetic",
    "wasm_stack_switching",
    "wasm_custom_page_sizes",
    "wasm_component_model_map",
    "wasm_component_model_implements",
)
"""Wasm features that no standard guest toolchain needs: less to trust."""


def _base(config: SandboxConfig) -> Config:
    """What compiling and running must agree on."""
    settings = Config()
    for name in _OFF:
        setattr(settings, name, False)
    pointer = abi.address(settings.ptr())
    # Together, else creating the engine panics; with concurrency a call with two borrowed handles traps.
    abi.config_component_model_async(pointer, False)
    abi.config_concurrency_support(pointer, False)
    settings.consume_fuel = True
    settings.max_wasm_stack = config.stack_bytes // 2  # more than the fiber's stack would abort the process
    abi.config_async_stack_size(pointer, config.stack_bytes)
    settings.memory_reservation = config.memory_reservation
    settings.memory_init_cow = True
    settings.parallel_compilation = False  # so that RLIMIT_CPU of the compiling process is wall time
    settings.native_unwind_info = False
    return settings


def running_engine(config: SandboxConfig) -> Engine:
    """An engine with pools for `max_instances` guests. Raises Unavailable where the machine is too small for them."""
    check_machine(config)
    check_space(config)
    settings = _base(config)
    pool = abi.pooling_new()
    count = config.max_instances
    abi.pooling_total_component_instances(pool, count)
    abi.pooling_total_core_instances(pool, count * config.pooled_core_instances)
    abi.pooling_total_memories(pool, count * config.memories)
    abi.pooling_total_tables(pool, count * config.tables)
    abi.pooling_total_stacks(pool, count)
    abi.pooling_total_gc_heaps(pool, 0)
    abi.pooling_max_core_instances(pool, config.core_instances)
    abi.pooling_max_memories(pool, config.memories)
    abi.pooling_max_tables(pool, config.tables)
    abi.pooling_table_elements(pool, config.table_elements)
    abi.pooling_max_memory_size(pool, config.memory_bytes)
    for keep_resident in (
        abi.pooling_memory_keep_resident,
        abi.pooling_table_keep_resident,
        abi.pooling_stack_keep_resident,
    ):
        keep_resident(pool, 0)
    abi.pooling_use(abi.address(settings.ptr()), pool)
    abi.pooling_delete(pool)
    try:
        return Engine(settings)
    except WasmtimeError as error:
        raise Unavailable(f"the Wasm engine cannot start: {error}", "lower sandbox.max_instances") from None


def compile_component(wasm: bytes, config: SandboxConfig) -> bytes:
    """Machine code of a component, for `Sandbox.load` of the same `engine_key`. Costs CPU seconds and memory: run it in
    a process with limits. Raises InvalidProgram."""
    check_magic(wasm)
    try:
        return bytes(Component(Engine(_base(config)), wasm).serialize())
    except WasmtimeError as error:
        raise InvalidProgram(f"the component does not compile: {_first_lines(str(error))}") from None


def engine_key(config: SandboxConfig) -> str:
    """Identifies what compiled code depends on: settings, wasmtime's version, the CPU's features."""
    version = importlib.metadata.version("wasmtime")
    compiled_in = (config.stack_bytes, config.memory_reservation, _OFF)
    parts = (version, compiled_in, platform.machine(), _cpu_features())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def check_version() -> None:
    """Raises Unavailable unless the installed wasmtime is the one that the private bindings were checked against."""
    version = importlib.metadata.version("wasmtime")
    if version != abi.WASMTIME_VERSION:
        raise Unavailable(
            f"wasmtime {version} is installed, but the sandbox is built for {abi.WASMTIME_VERSION}",
            f"pip install wasmtime=={abi.WASMTIME_VERSION}",
        )


# --- the machine ------------------------------------------------------------------------------------------------------
_MAPS_PER_INSTANCE = 6
"""Kernel memory mappings of a Python guest (a tiny one has 4)."""
_MAPS_OF_HOST = 4096
"""Mappings left for libraries, models and compiled programs."""
_ADDRESS_BITS = 47


@dataclass(frozen=True, slots=True)
class Machine:
    """What bounds the pools: `max_maps` mappings and `address_bytes` of address space for one process."""

    max_maps: int
    address_bytes: int


def this_machine() -> Machine:
    maps, space = Path("/proc/sys/vm/max_map_count"), 1 << _ADDRESS_BITS
    try:
        import resource

        soft = resource.getrlimit(resource.RLIMIT_AS)[0]
        space = space if soft == resource.RLIM_INFINITY else min(space, soft)
    except ImportError:  # not a POSIX system
        pass
    return Machine(int(maps.read_text()) if maps.exists() else 1 << 30, space)


def check_machine(config: SandboxConfig, machine: Machine | None = None) -> None:
    """Raises Unavailable, with the fix, where `max_instances` guests cannot exist on this machine."""
    machine = machine or this_machine()
    maps = config.max_instances * _MAPS_PER_INSTANCE + _MAPS_OF_HOST
    if maps > machine.max_maps:
        fits = max(0, (machine.max_maps - _MAPS_OF_HOST) // _MAPS_PER_INSTANCE)
        raise Unavailable(
            f"{config.max_instances} instances need {maps} memory mappings, but vm.max_map_count is {machine.max_maps}",
            f"sysctl -w vm.max_map_count={maps}, or set sandbox.max_instances to at most {fits}",
        )
    one = _address_bytes(config)
    space = config.max_instances * one
    if space > machine.address_bytes:
        raise Unavailable(
            f"{config.max_instances} instances need {space >> 30} GiB of address space, "
            f"but the process may have {machine.address_bytes >> 30} GiB",
            f"ulimit -v unlimited, or set sandbox.max_instances to at most {machine.address_bytes // one}",
        )


def check_space(config: SandboxConfig) -> None:
    """Raises Unavailable where this process has no address space left for the pools, because other sandboxes have
    theirs: wasmtime would end it."""
    space = config.max_instances * _address_bytes(config)
    try:
        mmap.mmap(-1, space, mmap.MAP_PRIVATE, 0).close()
    except OSError:
        raise Unavailable(
            f"{config.max_instances} instances need {space >> 30} GiB of address space, and this process has not as "
            "much left: its other sandboxes have theirs",
            "close one that is not needed, or set max_instances of each sandbox lower",
        ) from None


def _address_bytes(config: SandboxConfig) -> int:
    """Of one instance."""
    return config.memories * (config.memory_reservation + (64 << 20)) + config.stack_bytes


def _cpu_features() -> str:
    """The kernel's list of CPU features; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor()
    lines = (line for line in path.read_text().splitlines() if line.startswith(("flags", "Features")))
    return next(lines, "")


def _first_lines(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines() if line.strip())[:500]


def lowered(config: SandboxConfig, limits: InstanceLimits) -> InstanceLimits:
    """`limits`, none of them above the sandbox's."""
    if limits.memory_bytes <= config.memory_bytes:
        return limits
    return dataclasses.replace(limits, memory_bytes=config.memory_bytes)
