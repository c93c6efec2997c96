"""`symphony build`: a Python program becomes a component that any Symphony host runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("source", default=".", metavar="[DIR|FILE]")
@click.option("-o", "--output", metavar="OUT.wasm", help="Where to write (default: beside the source).")
def build(source: str, output: str | None) -> None:
    """Build a Python program (a FILE, or the DIR that holds it) into a .wasm component. Takes about 20 seconds."""
    from symphony.program.build import build as build_component

    chosen = Path(source)
    out = Path(output) if output is not None else chosen.resolve().with_suffix(".wasm")
    build_component(chosen, out)
    click.echo(f"built {out} ({out.stat().st_size / 1e6:.1f} MB); run it: symphony run {out}")
