"""The interpreter LIP: one component with Python and `lip` that runs any single-file program.

`run` takes `{"source": text, "filename": name, "args": object}`; without `args` it only looks at the source. The
component is built once (`symphony.program`); a program needs no build at all. What can be imported is imported here, at
build time; later imports find nothing.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import json
import random
import sys
import types

from . import _entry, _inspect, _rehearsal, _report, _snapshot, openai

__all__ = ["LipWorld", "freeze", "openai"]

STDLIB = """
_ast_unparse _colorize _strptime abc annotationlib argparse array ast asyncio asyncio.taskgroups asyncio.timeouts
base64 bisect builtins calendar cmath cmd code codecs collections collections.abc colorsys concurrent.futures
concurrent.futures.thread configparser contextlib contextvars copy copyreg csv dataclasses datetime decimal difflib
dis doctest email email.message email.parser encodings.ascii encodings.base64_codec encodings.charmap
encodings.cp1252 encodings.hex_codec encodings.idna encodings.latin_1 encodings.punycode
encodings.raw_unicode_escape encodings.unicode_escape encodings.utf_16 encodings.utf_32 encodings.utf_8
encodings.utf_8_sig enum errno fnmatch fractions functools gc getopt glob graphlib gzip hashlib heapq hmac html
html.entities html.parser http importlib importlib.resources importlib.util inspect io ipaddress itertools json
json.decoder json.encoder keyword linecache locale logging logging.config logging.handlers math mimetypes numbers
operator os os.path pathlib pickle platform plistlib posixpath pprint queue quopri random re reprlib sched secrets
select selectors shelve shlex shutil signal socket sqlite3 stat statistics string string.templatelib struct
subprocess symtable sys tarfile tempfile textwrap threading time timeit token tokenize tomllib traceback types
typing unicodedata unittest unittest.async_case unittest.mock urllib.error urllib.parse uuid warnings wave weakref
xml.dom.minidom xml.etree.ElementPath xml.etree.ElementTree xml.parsers.expat xml.sax zipfile zlib zoneinfo
zoneinfo._common
""".split()  # noqa: SIM905
"""What programs may import; names with an underscore are what the others import when they are used."""


def freeze() -> None:
    """What the interpreter's build does: everything that need not wait for a program."""
    import_library()
    _rehearsal.rehearse(execute)
    seal()


def import_library() -> None:
    """Import what programs may import."""
    for name in STDLIB:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def seal() -> None:
    """End of a build: forget where modules come from."""
    random.seed = _entry.seed
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    sys.meta_path[:] = [f for f in sys.meta_path if getattr(f, "__name__", "") in ("BuiltinImporter", "FrozenImporter")]
    _snapshot.settle()


class LipWorld:
    """What componentize-py exports; it names the class after the world module."""

    def run(self, args: str) -> str:
        request = json.loads(args)
        source, filename = request["source"], request["filename"]
        if "args" not in request:
            return _entry.answer(lambda: look(source, filename))
        return _entry.answer(lambda: execute(source, filename, request["args"]))


def look(source: str, filename: str) -> str:
    """Does it compile, and which parameters has it (null: no entry point)? Raises `_entry.Failure`."""
    _report.remember(filename, source)
    return json.dumps(_entry.guard(lambda: _inspect.parameters_of(source, filename)))


def execute(source: str, filename: str, arguments: object) -> str:
    """Execute a source and run its main function; the result as JSON. Raises `_entry.Failure`."""
    _report.remember(filename, source)
    _entry.begin()
    module = types.ModuleType("app")
    module.__file__ = filename
    module.__dict__["__builtins__"] = builtins
    sys.modules["app"] = module
    _entry.guard(lambda: exec(compile(source, filename, "exec"), module.__dict__))
    function, parameters = _entry.entry_of(module.__dict__)
    return _entry.run(function, parameters, arguments)
