"""The interpreter LIP: the one component that runs every `.py` program, built once for an SDK and a `wit/`.

Its sources are the SDK's (`lip/_interpreter.py`); this module builds it where it is missing and tells where it is. The
file name carries a hash of everything that went into it, so a changed SDK gets another file and an old one is never
wrong.
"""

from __future__ import annotations

import fcntl
import hashlib
import tempfile
from pathlib import Path

from symphony.errors import InternalError
from symphony.program import snapshot
from symphony.program.toolchain import BuildFailed, Kit, componentize, find_kit, replace, version

MODULE = "symphony_interpreter"
_SOURCE = "from lip._interpreter import LipWorld, freeze\n\n__all__ = ['LipWorld']\nfreeze()\n"


def key(kit: Kit) -> str:
    """Identifies the interpreter that a kit yields."""
    digest = hashlib.sha256(f"{version()}\n{_SOURCE}\n".encode() + Path(snapshot.__file__).read_bytes())
    for file in kit.files():
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:32]


def ensure(cache: Path) -> Path:
    """The interpreter's `.wasm` below `cache`, built first if it is not there (blocks for about 20 seconds, once).

    Two processes may call it at the same time: one builds, the other waits. Raises `Unavailable` without
    componentize-py.
    """
    kit = find_kit()
    folder = cache / "interpreter"
    target = folder / f"{key(kit)}.wasm"
    if target.is_file():
        return target
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_file():
            _build(kit, target)
    return target


def _build(kit: Kit, target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as made:
        app = Path(made) / "app"
        app.mkdir()
        (app / f"{MODULE}.py").write_text(_SOURCE)
        out = Path(made) / "out.wasm"
        try:
            componentize(kit, MODULE, [app], out)
        except BuildFailed as error:
            raise InternalError(f"the Python interpreter component could not be built: {error.message}") from None
        out.write_bytes(snapshot.immortalise(out.read_bytes()))
        out.chmod(0o600)
        replace(out, target)
