"""Runs guests: the only package that imports wasmtime. `Sandbox` loads programs and makes `Instance`s of them."""

from symphony.sandbox.config import InstanceLimits, SandboxConfig, compile_component
from symphony.sandbox.instance import Instance, State
from symphony.sandbox.outcome import Exited, Failed, Outcome, Returned, Trapped, Turn
from symphony.sandbox.sandbox import LoadedProgram, Sandbox

__all__ = [
    "Exited",
    "Failed",
    "Instance",
    "InstanceLimits",
    "LoadedProgram",
    "Outcome",
    "Returned",
    "Sandbox",
    "SandboxConfig",
    "State",
    "Trapped",
    "Turn",
    "compile_component",
]
