"""`symphony build`: a program becomes a component that any Symphony host runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source", default=".", metavar="[DIR|FILE]")
@click.option("-o", "--output", metavar="OUT.wasm", help="Where to write (default: beside the source).")
def build(source: str, output: str | None) -> None:
    """Build a Python program (a FILE, or the DIR that holds it) into a .wasm component, or the Rust crate in DIR.

    Pure-Python packages come along: those in DIR, in its requirements.txt, and in the program's `# /// script` block.
    """
    from symphony.program.build import build as build_component
    from symphony.program.crate import build_crate, is_crate

    chosen = Path(source)
    out = Path(output) if output is not None else chosen.resolve().with_suffix(".wasm")
    if is_crate(chosen):
        build_crate(chosen, out)
    else:
        build_component(chosen, out)
    click.echo(f"built {out} ({out.stat().st_size / 1e6:.1f} MB); run it: symphony run {out}")
