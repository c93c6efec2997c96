"""The process that compiles one component: `python -m symphony.program.compile_worker`, its order on stdin as JSON.

It limits itself before it touches the component, writes machine code, and ends. Exit status `INVALID`: the component is
at fault, and standard output says why. Whatever else ends it (a signal, an abort) is judged by `compile`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

INVALID = 3


def limit(cpu_seconds: int, memory_bytes: int, result_bytes: int) -> None:
    """From here on: at most so much CPU, address space, and file; no core dump."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (result_bytes, result_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    order = json.load(sys.stdin)
    limit(*order["limits"])
    from symphony.errors import InvalidProgram
    from symphony.sandbox.config import SandboxConfig, compile_component

    try:
        code = compile_component(Path(order["source"]).read_bytes(), SandboxConfig(**order["config"]))
    except InvalidProgram as error:
        json.dump([error.message, error.hint], sys.stdout)
        return INVALID
    Path(order["made"]).write_bytes(code)
    Path(order["made"]).chmod(0o600)
    return 0


if __name__ == "__main__":
    sys.exit(main())
