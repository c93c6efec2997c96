"""The C functions of wasmtime that the sandbox calls, each with its signature, and direct access to C memory.

Everything here is private API of the pinned `wasmtime` package (docs/adr/0001): a test compares every signature below
with the package's own declarations. Addresses are plain integers. Source: wasmtime's `crates/c-api/include`.

Two handles on one library: calls through `PyDLL` keep the interpreter lock (they last nanoseconds to microseconds);
`future_poll_released` gives it up, for guests that compute long. Callbacks work from both.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from ctypes import c_bool, c_char_p, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from wasmtime import _ffi as ffi

WASMTIME_VERSION = "50.0.1"
"""The only version that these signatures were checked against."""

_keeping = ctypes.PyDLL(str(ffi.filename))
_releasing = ctypes.CDLL(str(ffi.filename))

FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {}
"""C name -> (result, parameters), filled below; constant afterwards."""
_INTEGERS = (c_bool, c_int64, c_size_t, c_uint32, c_uint64)
"""Parameters that ctypes is told to pass as `void *`: the same register, converted three times as fast. The caller
keeps to the parameter's range."""


def _declare(name: str, result: Any, *parameters: Any, library: ctypes.CDLL = _keeping) -> Callable[..., Any]:
    function = library[name]  # a fresh object: does not disturb the declarations of wasmtime._bindings
    function.restype = result
    function.argtypes = [c_void_p if parameter in _INTEGERS else parameter for parameter in parameters]
    FUNCTIONS[name] = (result, parameters)
    return function


# --- callbacks that wasmtime makes ------------------------------------------------------------------------------------
HostCall = ctypes.CFUNCTYPE(
    None, c_void_p, c_void_p, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_void_p, c_void_p
)
"""(env, context, type, arguments, count, results, count, error out, continuation out)"""
Destructor = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_void_p, c_uint32)
"""(env, context, rep) -> error or 0"""

# --- stores and fuel --------------------------------------------------------------------------------------------------
store_new = _declare("wasmtime_store_new", c_void_p, c_void_p, c_void_p, c_void_p)
store_context = _declare("wasmtime_store_context", c_void_p, c_void_p)
store_limiter = _declare("wasmtime_store_limiter", None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64)
store_delete = _declare("wasmtime_store_delete", None, c_void_p)
set_fuel = _declare("wasmtime_context_set_fuel", c_void_p, c_void_p, c_uint64)
set_fuel_slice = _declare("wasmtime_context_fuel_async_yield_interval", c_void_p, c_void_p, c_uint64)

# --- calls on fibers --------------------------------------------------------------------------------------------------
instantiate_async = _declare(
    "wasmtime_component_linker_instantiate_async", c_void_p, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p
)
call_async = _declare(
    "wasmtime_component_func_call_async",
    c_void_p,
    c_void_p,
    c_void_p,
    c_void_p,
    c_size_t,
    c_void_p,
    c_size_t,
    c_void_p,
)
future_poll = _declare("wasmtime_call_future_poll", c_bool, c_void_p)
future_poll_released = _declare("wasmtime_call_future_poll", c_bool, c_void_p, library=_releasing)
future_delete = _declare("wasmtime_call_future_delete", None, c_void_p)
instance_get_func = _declare("wasmtime_component_instance_get_func", c_bool, c_void_p, c_void_p, c_void_p, c_void_p)

# --- linking ----------------------------------------------------------------------------------------------------------
add_func_async = _declare(
    "wasmtime_component_linker_instance_add_func_async",
    c_void_p,
    c_void_p,
    c_char_p,
    c_size_t,
    HostCall,
    c_void_p,
    c_void_p,
)
add_resource = _declare(
    "wasmtime_component_linker_instance_add_resource",
    c_void_p,
    c_void_p,
    c_char_p,
    c_size_t,
    c_void_p,
    Destructor,
    c_void_p,
    c_void_p,
)
func_type_async = _declare("wasmtime_component_func_type_async", c_bool, c_void_p)
resource_type_equal = _declare("wasmtime_component_resource_type_equal", c_bool, c_void_p, c_void_p)

# --- values -----------------------------------------------------------------------------------------------------------
byte_vec_new = _declare("wasm_byte_vec_new", None, c_void_p, c_size_t, c_char_p)
byte_vec_delete = _declare("wasm_byte_vec_delete", None, c_void_p)
list_new = _declare("wasmtime_component_vallist_new_uninit", None, c_void_p, c_size_t)
tuple_new = _declare("wasmtime_component_valtuple_new_uninit", None, c_void_p, c_size_t)
flags_new = _declare("wasmtime_component_valflags_new_uninit", None, c_void_p, c_size_t)
record_new = _declare("wasmtime_component_valrecord_new_uninit", None, c_void_p, c_size_t)
record_copy = _declare("wasmtime_component_valrecord_copy", None, c_void_p, c_void_p)
val_new = _declare("wasmtime_component_val_new", c_void_p, c_void_p)
val_clone = _declare("wasmtime_component_val_clone", None, c_void_p, c_void_p)
val_delete = _declare("wasmtime_component_val_delete", None, c_void_p)
host_resource_new = _declare("wasmtime_component_resource_host_new", c_void_p, c_bool, c_uint32, c_uint32)
host_resource_rep = _declare("wasmtime_component_resource_host_rep", c_uint32, c_void_p)
host_resource_delete = _declare("wasmtime_component_resource_host_delete", None, c_void_p)
host_resource_to_any = _declare("wasmtime_component_resource_host_to_any", c_void_p, c_void_p, c_void_p, c_void_p)
any_resource_to_host = _declare("wasmtime_component_resource_any_to_host", c_void_p, c_void_p, c_void_p, c_void_p)

# --- errors -----------------------------------------------------------------------------------------------------------
error_new = _declare("wasmtime_error_new", c_void_p, c_char_p)
error_message = _declare("wasmtime_error_message", None, c_void_p, c_void_p)
error_delete = _declare("wasmtime_error_delete", None, c_void_p)

# --- engine settings that the package's Config lacks ------------------------------------------------------------------
config_concurrency_support = _declare("wasmtime_config_concurrency_support_set", None, c_void_p, c_bool)
config_component_model_async = _declare("wasmtime_config_wasm_component_model_async_set", None, c_void_p, c_bool)
config_async_stack_size = _declare("wasmtime_config_async_stack_size_set", None, c_void_p, c_size_t)
pooling_new = _declare("wasmtime_pooling_allocation_config_new", c_void_p)
pooling_delete = _declare("wasmtime_pooling_allocation_config_delete", None, c_void_p)
pooling_use = _declare("wasmtime_pooling_allocation_strategy_set", None, c_void_p, c_void_p)
pooling_total_component_instances = _declare(
    "wasmtime_pooling_allocation_config_total_component_instances_set", None, c_void_p, c_uint32
)
pooling_total_core_instances = _declare(
    "wasmtime_pooling_allocation_config_total_core_instances_set", None, c_void_p, c_uint32
)
pooling_total_memories = _declare("wasmtime_pooling_allocation_config_total_memories_set", None, c_void_p, c_uint32)
pooling_total_tables = _declare("wasmtime_pooling_allocation_config_total_tables_set", None, c_void_p, c_uint32)
pooling_total_stacks = _declare("wasmtime_pooling_allocation_config_total_stacks_set", None, c_void_p, c_uint32)
pooling_total_gc_heaps = _declare("wasmtime_pooling_allocation_config_total_gc_heaps_set", None, c_void_p, c_uint32)
pooling_max_core_instances = _declare(
    "wasmtime_pooling_allocation_config_max_core_instances_per_component_set", None, c_void_p, c_uint32
)
pooling_max_memories = _declare(
    "wasmtime_pooling_allocation_config_max_memories_per_component_set", None, c_void_p, c_uint32
)
pooling_max_tables = _declare(
    "wasmtime_pooling_allocation_config_max_tables_per_component_set", None, c_void_p, c_uint32
)
pooling_table_elements = _declare("wasmtime_pooling_allocation_config_table_elements_set", None, c_void_p, c_size_t)
pooling_max_memory_size = _declare("wasmtime_pooling_allocation_config_max_memory_size_set", None, c_void_p, c_size_t)
pooling_memory_keep_resident = _declare(
    "wasmtime_pooling_allocation_config_linear_memory_keep_resident_set", None, c_void_p, c_size_t
)
pooling_table_keep_resident = _declare(
    "wasmtime_pooling_allocation_config_table_keep_resident_set", None, c_void_p, c_size_t
)
pooling_stack_keep_resident = _declare(
    "wasmtime_pooling_allocation_config_async_stack_keep_resident_set", None, c_void_p, c_size_t
)

# --- raw memory -------------------------------------------------------------------------------------------------------
MEMORY = memoryview((ctypes.c_char * (1 << 52)).from_address(0)).cast("B")
"""The process' own address space as one buffer, so that `struct` and numpy read and write C values in place."""
read_word: Callable[[Any, int], tuple[int]] = struct.Struct("<Q").unpack_from
read_two_words: Callable[[Any, int], tuple[int, int]] = struct.Struct("<QQ").unpack_from
write_word: Callable[[Any, int, int], None] = struct.Struct("<Q").pack_into
write_pointer: Callable[[Any, int, int, int], None] = struct.Struct("<B7xQ").pack_into
"""A value that is a kind and one pointer: (kind, pointer)."""
write_result: Callable[[Any, int, int, bool, int], None] = struct.Struct("<B7x?7xQ").pack_into
"""A `result` value: (kind, whether it is ok, pointer)."""
write_continuation: Callable[[Any, int, int, int, int], None] = struct.Struct("<QQQ").pack_into
"""(callback, env, finalizer) of a `wasmtime_async_continuation_t`."""

ANSWERED: int = ctypes.cast(ctypes.CDLL(None).strlen, c_void_p).value or 0
"""Continuation callback without Python: `strlen(cell)` is true as a C bool once the cell's first byte is 1."""


def address(pointer: Any) -> int:
    """The address in a ctypes pointer; 0 for NULL."""
    return ctypes.cast(pointer, c_void_p).value or 0


def take_error(error: int) -> str:
    """The text of an error, which is freed."""
    text = (c_size_t * 2)()
    error_message(error, ctypes.addressof(text))
    message = ctypes.string_at(text[1], text[0]).decode("utf-8", "replace")
    byte_vec_delete(ctypes.addressof(text))
    error_delete(error)
    return message
