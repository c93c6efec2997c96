"""Build a Rust LIP: `python tools/build_rust.py CRATE [-o OUT.wasm]` turns a crate directory into a component.

Takes the first toolchain that can do it (`--target`: for that), and installs nothing unless told to (`--install`):

1. a rustc that has std for wasm32-unknown-unknown (the component then imports nothing of WASI but what it uses)
2. one that has std for wasm32-wasip2
3. one that has std's source (rustup's rust-src, Debian's rust-web-src): cargo builds std as well

For wasm32-unknown-unknown the linker is `wasm-component-ld`, which every rustup toolchain ships and which writes the
component at once. The target directory is CARGO_TARGET_DIR, or else build/rust/ of this repository.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BARE, WASI = "wasm32-unknown-unknown", "wasm32-wasip2"
COMPONENT_MAGIC = b"\0asm\x0d\0\x01\0"
DEBIAN_PACKAGES = ("rustc-web", "cargo-web", "rust-web-src", "lld-19")

HINT = f"""\
no Rust toolchain here can build for WebAssembly. Any one of these changes that:
  rustup target add {BARE}
  rustup component add rust-src
  apt-get install --no-install-recommends {" ".join(DEBIAN_PACKAGES)}
      (Debian; and `cargo install wasm-component-ld` where no rustup toolchain is there)
or run this tool once with --install, which tries them in this order."""


class BuildError(Exception):
    """The crate was not built; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """A compiler that can build for `target`. `linker` None: the target's own."""

    rustc: Path
    target: str
    build_std: bool
    linker: Path | None

    @property
    def cargo(self) -> Path:
        beside = self.rustc.with_name("cargo")
        return beside if beside.exists() else Path(shutil.which("cargo") or "cargo")

    def environment(self) -> dict[str, str]:
        """What cargo needs beside the caller's environment."""
        found = {"RUSTC": str(self.rustc), "PATH": f"{self.rustc.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
        if self.build_std:
            found["RUSTC_BOOTSTRAP"] = "1"  # -Z build-std on a stable compiler
        prefix = f"CARGO_TARGET_{self.target.upper().replace('-', '_')}"
        flags = list(_remapped())
        if self.linker is not None:
            found[f"{prefix}_LINKER"] = str(self.linker)
            flags += [f"-Clink-arg={flag}" for flag in self.link_arguments()]
        found[f"{prefix}_RUSTFLAGS"] = " ".join(flags)
        return found

    def link_arguments(self) -> Iterator[str]:
        yield "--wasi-adapter=none"
        backend = _wasm_ld(self.rustc)
        if backend is not None:
            yield f"--wasm-ld-path={backend}"

    def arguments(self) -> list[str]:
        found = ["build", "--release", "--target", self.target]
        return [*found, "-Z", "build-std=std,panic_abort"] if self.build_std else found


def toolchain(target: str | None = None) -> Toolchain | None:
    """The best toolchain of this machine for `target`, or for either one, if any can do it."""
    return next((found for found in _toolchains() if target in (None, found.target)), None)


def _toolchains() -> Iterator[Toolchain]:
    compilers = list(dict.fromkeys(_compilers()))
    linker = next(_component_linkers(compilers), None)
    for rustc in compilers if linker else ():
        if _has_std(rustc, BARE):
            yield Toolchain(rustc, BARE, False, linker)
    for rustc in compilers:
        if _has_std(rustc, WASI):
            yield Toolchain(rustc, WASI, False, None)
    for rustc in compilers if linker else ():
        if _has_source(rustc):
            yield Toolchain(rustc, BARE, True, linker)


def build(crate: Path, output: Path | None = None, target: str | None = None) -> Path:
    """Build the crate in `crate`; the path of the component. Raises BuildError."""
    chosen = toolchain(target)
    if chosen is None:
        raise BuildError(HINT)
    if not (crate / "Cargo.toml").exists():
        raise BuildError(f"{crate} has no Cargo.toml: give the directory of a crate")
    target_directory = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "build/rust").resolve()
    environment = {**os.environ, **chosen.environment(), "CARGO_TARGET_DIR": str(target_directory)}
    try:
        done = subprocess.run([chosen.cargo, *chosen.arguments()], cwd=crate, env=environment, check=False)
    except OSError as error:
        raise BuildError(f"cannot run {chosen.cargo}: {error}") from error
    if done.returncode:
        raise BuildError(f"cargo failed with exit status {done.returncode} (its messages are above)")
    built = target_directory / chosen.target / "release" / f"{_library_name(chosen.cargo, crate)}.wasm"
    _check(built)
    if output is None:
        return built
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(built, output)
    return output


def _library_name(cargo: Path, crate: Path) -> str:
    command = [cargo, "metadata", "--no-deps", "--format-version=1", "--offline"]
    told = json.loads(subprocess.run(command, cwd=crate, capture_output=True, check=True).stdout)
    manifest = str((crate / "Cargo.toml").resolve())  # a workspace has other members
    for package in told["packages"]:
        for target in package["targets"] if package["manifest_path"] == manifest else ():
            if "cdylib" in target["crate_types"]:
                return str(target["name"]).replace("-", "_")
    raise BuildError(f'{crate}/Cargo.toml builds no program: add `[lib] crate-type = ["cdylib"]`')


def _check(built: Path) -> None:
    with built.open("rb") as file:
        if file.read(8) != COMPONENT_MAGIC:
            raise BuildError(f"{built} is not a component: it was not linked by wasm-component-ld")


# ---------------------------------------------------------------------- what is on this machine


def _compilers() -> Iterator[Path]:
    """rustc's by their real paths: rustup's proxy is not one, it only picks one."""
    named = os.environ.get("RUSTC")
    for candidate in (named, shutil.which("rustc"), "/usr/bin/rustc"):
        if candidate and Path(candidate).exists():
            sysroot = _ask(Path(candidate), "--print=sysroot")
            if sysroot and (Path(sysroot) / "bin/rustc").exists():
                yield Path(sysroot) / "bin/rustc"
    yield from sorted(_rustup_home().glob("toolchains/*/bin/rustc"), reverse=True)


def _rustup_home() -> Path:
    return Path(os.environ.get("RUSTUP_HOME") or Path.home() / ".rustup")


def _ask(rustc: Path, *arguments: str) -> str:
    """What rustc answers, or nothing if it cannot."""
    done = subprocess.run([rustc, *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _has_std(rustc: Path, target: str) -> bool:
    directory = _ask(rustc, "--print=target-libdir", f"--target={target}")
    return bool(directory) and any(Path(directory).glob("libstd-*.rlib"))


def _has_source(rustc: Path) -> bool:
    return (rustc.parents[1] / "lib/rustlib/src/rust/library/std/Cargo.toml").exists()


def _component_linkers(compilers: list[Path]) -> Iterator[Path]:
    found = shutil.which("wasm-component-ld")
    if found:
        yield Path(found)
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    yield from cargo_home.glob("bin/wasm-component-ld")
    for rustc in compilers:
        yield from rustc.parents[1].glob("lib/rustlib/*/bin/wasm-component-ld")


def _remapped() -> Iterator[str]:
    """No path of this machine gets into a component: panic messages name sources relative to these."""
    cargo_home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    yield f"--remap-path-prefix={cargo_home / 'registry' / 'src'}=crates"
    yield f"--remap-path-prefix={ROOT}=symphony"


def _wasm_ld(rustc: Path) -> Path | None:
    """The linker behind wasm-component-ld: rustc's own, else the system's newest."""
    own = sorted(rustc.parents[1].glob("lib/rustlib/*/bin/gcc-ld/wasm-ld"))
    system = sorted(Path("/usr/bin").glob("wasm-ld*"), key=_release, reverse=True)
    return next(iter([*own, *system]), None)


def _release(linker: Path) -> int:
    suffix = linker.name.removeprefix("wasm-ld").removeprefix("-")
    return int(suffix) if suffix.isdigit() else 0


# ---------------------------------------------------------------------- installing, when told to


def install() -> None:
    """Make this machine able to build. Raises BuildError."""
    attempts = [["rustup", "target", "add", BARE], ["rustup", "component", "add", "rust-src"]]
    if os.geteuid() == 0:
        attempts += [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *DEBIAN_PACKAGES]]
    for command in attempts:
        if toolchain() is None and shutil.which(command[0]):
            print("+", *command, file=sys.stderr, flush=True)
            subprocess.run(command, check=False)
    if toolchain() is None:
        raise BuildError(HINT)


def main() -> int:
    parser = argparse.ArgumentParser(prog="build_rust", description="Build a Rust LIP into a WebAssembly component.")
    parser.add_argument("crate", type=Path, nargs="?", help="directory of the crate")
    parser.add_argument("-o", "--output", type=Path, help="where the component goes (default: it stays with cargo)")
    parser.add_argument("--install", action="store_true", help="first install a toolchain if none is there")
    parser.add_argument("--which", action="store_true", help="only say which toolchain would be used")
    parser.add_argument("--target", choices=[BARE, WASI], help="only a toolchain for this target")
    options = parser.parse_args()
    try:
        if options.install:
            install()
        if options.which:
            chosen = toolchain(options.target)
            if chosen is None:
                raise BuildError(HINT)
            print(f"{chosen.rustc} for {chosen.target}" + (", with std from source" if chosen.build_std else ""))
        elif options.crate is not None:
            print(build(options.crate, options.output, options.target))
        elif not options.install:
            parser.error("give the directory of a crate")
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
