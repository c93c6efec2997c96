"""`--tools FILE.py`: the public functions of a Python file, which its owner trusts, as tools for programs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from inspect import isfunction
from pathlib import Path
from typing import Any

from symphony.errors import Invalid, NotFound

MODULE = "symphony_tools"
"""The name under which the file is imported."""


def load_tools(path: Path) -> dict[str, Callable[..., Any]]:
    """Import `path` and return the functions that it defines itself and does not hide with an underscore.

    Raises NotFound without such a file, Invalid if it fails or defines none.
    """
    if not path.is_file():
        raise NotFound(f"there is no tools file {path}", "give --tools a Python file with functions")
    spec = importlib.util.spec_from_file_location(MODULE, path)
    if spec is None or spec.loader is None:
        raise Invalid(f"{path} is not a Python file", "give --tools a .py file with functions")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as cause:
        raise Invalid(f"{path} failed when it was imported: {type(cause).__name__}: {cause}", "fix the file") from cause
    finally:
        sys.path.remove(str(path.resolve().parent))
    functions = {
        name: value
        for name, value in vars(module).items()
        if isfunction(value) and value.__module__ == MODULE and not name.startswith("_")
    }
    if not functions:
        raise Invalid(
            f"{path} defines no public function", "each tool is a function: def weather(city: str) -> str: ..."
        )
    return functions
