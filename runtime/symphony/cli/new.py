"""`symphony new`: a program to begin with, an agent that calls a tool, with a test and what to type next.

The templates are folders (`guest_sdk/templates`) in which `@NAME@` and `@SDK@` stand for what only this machine knows.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from symphony.errors import Exists, Invalid
from symphony.resources import resource

NEXT = {
    "python": (
        ("symphony run app.py --tools tools.py", "run it on the small model that comes with Symphony"),
        ("pip install pytest && python -m pytest", "test it against a scripted model"),
        ("symphony build app.py -o {name}.wasm", "make a component of it, which starts faster"),
    ),
    "rust": (
        ("symphony build . -o app.wasm", "build the component: a minute or two for the first one"),
        ("symphony run app.wasm --tools tools.py", "run it on the small model that comes with Symphony"),
        ("cargo test --release", "test what needs no model; the build above has most of what it takes"),
        ("pip install pytest && python -m pytest", "test the whole program"),
    ),
}
"""What to type next: command and purpose."""


@click.command()
@click.argument("directory", metavar="DIR")
@click.option("--lang", type=click.Choice(sorted(NEXT)), default="python", show_default=True, help="The language.")
def new(directory: str, lang: str) -> None:
    """Make DIR, with a program that calls a tool, its test, and a README."""
    folder = Path(directory)
    files = create(folder, lang)
    click.echo(f"made {folder}: {', '.join(files)}\n\n  cd {folder}")
    steps = [(command.format(name=project_name(folder)), purpose) for command, purpose in NEXT[lang]]
    width = max(len(command) for command, _ in steps)
    for command, purpose in steps:
        click.echo(f"  {command:{width}}   {click.style(purpose, dim=True)}")


def create(folder: Path, lang: str) -> list[str]:
    """Copy the template of a language into a new or empty folder; the names of its files.

    Raises `Exists` if something is in the folder, `Invalid` for a name that cannot be a project's or a folder that
    cannot be made.
    """
    words = {"@NAME@": project_name(folder), "@SDK@": str(resource("guest_sdk/rust", "guest_sdk/rust"))}
    template = resource("templates", "guest_sdk/templates") / lang
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Exists(f"{folder} is there already, and not an empty folder", "choose another name")
        made: list[str] = []
        for source in sorted(path for path in template.rglob("*") if path.is_file()):
            name = source.relative_to(template).as_posix()
            if source.suffix == ".pyc":  # an installer compiled the template
                continue
            if "__pycache__" in name:  # pip compiles what it installs
                continue
            target = folder / (".gitignore" if name == "gitignore" else name)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace(word, value)
            target.write_text(text, encoding="utf-8")
            made.append(target.relative_to(folder).as_posix())
    except OSError as error:
        raise Invalid(f"cannot make {folder}: {error.strerror}", "choose a place where you may write") from None
    return [name for name in made if not name.startswith(".") and not name.endswith(".lock")]


def project_name(folder: Path) -> str:
    """The project's name, after its folder. Raises `Invalid`."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-")
    if not re.match("[a-z]", name):
        raise Invalid(f"{folder.name!r} gives a project no name", "use one that begins with a letter, such as my-agent")
    return name
