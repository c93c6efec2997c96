"""`symphony fs`: the KV files of a running server, with the commands that one knows from other file systems.

Every command asks the server once and prints what it said; `--json` prints it as it came.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from symphony.cli.draw import columns, draw_directories, draw_forks
from symphony.cli.options import server_option
from symphony.cli.remote import Remote
from symphony.cli.terminal import pairs, table, terminal_width, visible
from symphony.errors import Exists, Invalid

HALF_YEAR = 182 * 86_400
LOOK = "/v1/fs"


@click.group()
def fs() -> None:
    """Look at the KV files of a server, and change their names."""


def command(name: str) -> Callable[[Callable[..., None]], click.Command]:
    """A command of this group, with the options that all of them have."""

    def decorate(function: Callable[..., None]) -> click.Command:
        as_json = click.option("--json", "as_json", is_flag=True, help="Print the server's JSON.")
        return fs.command(name)(server_option(as_json(function)))

    return decorate


# ---- looking ---------------------------------------------------------------------------------------------------------
@command("ls")
@click.argument("path", default="/")
@click.option("-l", "long", is_flag=True, help="Mode, owner, pages, tier, tokens and date too.")
def ls(path: str, long: bool, url: str, as_json: bool) -> None:
    """List the directory PATH (default: /), or one file."""
    answer = _ask(url, path)
    if as_json:
        return _print_json(answer)
    entries = answer["entries"] if answer["kind"] == "directory" else [answer]
    if long:
        return _show(_long(entries))
    names = [_name(entry) for entry in entries]
    _show(columns(names, terminal_width()))


@command("tree")
@click.argument("path", default="/")
@click.option("--forks", is_flag=True, help="Draw who descends from whom, not the directories.")
@click.option("--all", "whole", is_flag=True, help="Draw every open fork of a file, however many there are.")
def tree(path: str, forks: bool, whole: bool, url: str, as_json: bool) -> None:
    """Draw the files below PATH (default: /), open ones without a name too, and the pages that they share."""
    answer = _ask(url, path, tree="1")
    if as_json:
        return _print_json(answer)
    draw = draw_forks if forks else draw_directories
    _show("\n".join(draw(answer["path"], answer["files"], whole=whole)))


@command("cat")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--tokens", is_flag=True, help="Print token ids instead of text.")
def cat(paths: Sequence[str], tokens: bool, url: str, as_json: bool) -> None:
    """Print what the files say: their tokens as text."""
    for path in paths:
        answer = _ask(url, path, what="tokens" if tokens else "text")
        if as_json:
            _print_json(answer)
        elif tokens:
            click.echo(" ".join(map(str, answer["tokens"])))
        else:
            text: str = answer["text"]
            ended = text.endswith("\n") or not sys.stdout.isatty()
            sys.stdout.write(visible(text, sys.stdout) + ("" if ended else "\n"))


@command("du")
@click.argument("path", default="/")
@click.option("--tier", is_flag=True, help="What each tier has, in pages and bytes, instead.")
def du(path: str, tier: bool, url: str, as_json: bool) -> None:
    """Tell the pages that lie below PATH (default: /): those that nobody else holds, and shared ones.

    A page counts once, however many files below a name share it. DEVICE and HOST are the two tiers in memory; UNIQUE
    are those of both that would become free if the files went. DISK are pages on disk, which may be in memory as
    well. The last line is the sum of all.
    """
    answer = _ask(url, path, du="1")
    if as_json:
        return _print_json(answer)
    if tier:
        return _show(table(("TIER", "PAGES", "SIZE"), [(name, f"{n:,}", _size(b)) for name, n, b in _by_tier(answer)]))
    rows = [
        (
            f"{row['device_pages']:,}",
            f"{row['host_pages']:,}",
            f"{row['unique_pages']:,}",
            f"{row['shared_pages']:,}",
            f"{row['disk_pages']:,}",
            f"{row['tokens']:,}",
            _size(row["bytes"]),
            row["path"] or "(open files without a name)",
        )
        for row in answer["space"]
    ]
    _show(table(("DEVICE", "HOST", "UNIQUE", "SHARED", "DISK", "TOKENS", "SIZE", "PATH"), rows))


@command("stat")
@click.argument("path")
def stat(path: str, url: str, as_json: bool) -> None:
    """Show all that is known of the file PATH."""
    answer = _ask(url, path, what="stat")
    if as_json:
        return _print_json(answer)
    derived = answer["length"] - answer["plain"]
    shown = {
        "file": ", ".join(answer["names"]) or answer["path"],
        "length": f"{answer['length']:,} tokens" + (f", the last {derived:,} of them derived" if derived else ""),
        "model": answer["model"],
        "pages": f"{answer['pages']:,}: {answer['unique_pages']:,} of its own, "
        f"{answer['shared_pages']:,} shared with other files or the prefix cache",
        "tier": answer["tier"],
        "pins": f"{answer['pins']}, an operator's among them" if answer["held"] else answer["pins"],
        "mode": answer["mode"],
        "owner": f"{answer['owner']}, of the tenant {answer['tenant']}",
        "created": _when(answer["created"]),
        "modified": _when(answer["modified"]),
        "used": _when(answer["used"]),
        "ttl": "for ever" if answer["ttl"] is None else f"{answer['ttl']:g} s after its last use",
        "open in": ", ".join(f"process {pid}" for pid in answer["pids"]) or "no process",
    }
    _show(pairs(shown))


@command("check")
@click.argument("path", default="/")
@click.option("--repair", is_flag=True, help="Write damaged pages anew, or leave them to be computed again.")
def check(path: str, repair: bool, url: str, as_json: bool) -> None:
    """Read all that was synced below PATH (default: /), and hold it against its checksums.

    The exit status is 1 if something is damaged, and not repaired.
    """
    answer = _do(url, path, {"do": "check"} | ({"repair": "1"} if repair else {}))
    if as_json:
        _print_json(answer)
    else:
        for one in answer["damaged"]:
            click.echo(
                visible(f"{one['path']}: page {one['page']} of {one['pages']} is damaged; {one['what']}", sys.stdout)
            )
        if answer["lost_commits"]:
            click.echo(f"{answer['lost_commits']} commits of the journal could not be read when the host started")
        click.echo(f"{answer['files']:,} files, {answer['pages']:,} pages: {len(answer['damaged']) or 'none'} damaged")
    if any(not one["repaired"] for one in answer["damaged"]):
        sys.exit(1)


# ---- changing --------------------------------------------------------------------------------------------------------
@command("rm")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("-r", "--recursive", is_flag=True, help="Directories with all that lies below: of each all, or nothing.")
def rm(paths: Sequence[str], recursive: bool, url: str, as_json: bool) -> None:
    """Remove names, or empty directories. A process that has a file open keeps it."""
    for path in paths:
        Remote(url).call("DELETE", LOOK + _quoted(path), {"recursive": "1"} if recursive else {})
        if as_json:
            _print_json({"path": _absolute(path), "removed": True})


@command("cp")
@click.argument("source")
@click.argument("target")
@click.option("-f", "--force", is_flag=True, help="Replace TARGET if it exists.")
def cp(source: str, target: str, force: bool, url: str, as_json: bool) -> None:
    """Save a snapshot of the file SOURCE as TARGET (a TARGET with a slash at its end: inside that directory).

    The copy takes no pages until one of the two is written.
    """
    query = {"do": "copy", "to": _target(source, target)} | ({"overwrite": "1"} if force else {})
    _report(_do(url, source, query), as_json)


@command("mv")
@click.argument("source")
@click.argument("target")
def mv(source: str, target: str, url: str, as_json: bool) -> None:
    """Rename SOURCE, a file or a directory, to TARGET (with a slash at its end: into that directory)."""
    _report(_do(url, source, {"do": "move", "to": _target(source, target)}), as_json)


@command("pin")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def pin(paths: Sequence[str], url: str, as_json: bool) -> None:
    """Keep files on the device until they are unpinned, whoever comes and goes."""
    for path in paths:
        _report(_do(url, path, {"do": "pin"}), as_json)


@command("unpin")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
def unpin(paths: Sequence[str], url: str, as_json: bool) -> None:
    """Take back what `pin` did; the pins of programs stay."""
    for path in paths:
        _report(_do(url, path, {"do": "unpin"}), as_json)


# ---- to elsewhere ----------------------------------------------------------------------------------------------------
@command("export")
@click.argument("path")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("-f", "--force", is_flag=True, help="Replace FILE if it exists.")
def export(path: str, file: Path | None, force: bool, url: str, as_json: bool) -> None:
    """Write the file PATH, tokens and K/V, to the local FILE (default: PATH's last part, as .safetensors here)."""
    file = file or Path(_absolute(path).rsplit("/", 1)[-1] + ".safetensors")
    if file.exists() and not force:
        raise Exists(f"{file} exists already", "replace it (-f), or choose another name")
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as out:
            size = Remote(url).download(LOOK + _quoted(path), {"what": "export"}, out)
        part.replace(file)
    except OSError as cause:
        raise Invalid(f"{file} cannot be written: {cause.strerror}", "choose another place") from None
    finally:
        part.unlink(missing_ok=True)
    if as_json:
        return _print_json({"path": _absolute(path), "file": str(file), "bytes": size})
    click.echo(f"{file}  {_size(size)}")


@command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("path")
@click.option("-f", "--force", is_flag=True, help="Replace PATH if it exists.")
@click.option("--trust", is_flag=True, help="Its K/V is this model's own: it may serve other prompts too.")
def import_(file: Path, path: str, force: bool, trust: bool, url: str, as_json: bool) -> None:
    """Give the local FILE, which `export` wrote, the name PATH on the server, where it is durable at once.

    Without --trust its K/V serves this file and its forks only, as FILE may be anybody's.
    """
    query = ({"overwrite": "1"} if force else {}) | ({"trust": "1"} if trust else {})
    try:
        with file.open("rb") as source:
            _report(Remote(url).upload(LOOK + _quoted(path), query, source), as_json)
    except OSError as cause:
        raise Invalid(f"{file} cannot be read: {cause.strerror}", "name a file that symphony fs export wrote") from None


# ---- the inside ------------------------------------------------------------------------------------------------------
def _ask(url: str, path: str, **query: str) -> Any:
    return Remote(url).call("GET", LOOK + _quoted(path), query)


def _do(url: str, path: str, query: Mapping[str, str]) -> Any:
    return Remote(url).call("POST", LOOK + _quoted(path), query)


def _absolute(path: str) -> str:
    """There is no working directory: every path begins at the root."""
    return path if path.startswith("/") else f"/{path}"


def _quoted(path: str) -> str:
    return quote(_absolute(path).encode("utf-8", "surrogateescape"), safe="/")


def _target(source: str, target: str) -> str:
    name = _absolute(source).rstrip("/").rpartition("/")[2]
    return _absolute(f"{target}{name}" if target.endswith("/") else target)


def _report(answer: Any, as_json: bool) -> None:
    """Like its models, a command that did what it was told says nothing."""
    if as_json:
        _print_json(answer)


def _print_json(answer: Any) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def _show(text: str) -> None:
    if text:
        click.echo(visible(text, sys.stdout))


def _name(entry: Mapping[str, Any]) -> str:
    name = entry["path"].rpartition("/")[2]
    return f"{name}/" if entry["kind"] == "directory" else name


def _long(entries: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        ("d", "", "", "", "", "", "", _name(entry))
        if entry["kind"] == "directory"
        else (
            f"-{entry['mode']}",
            entry["owner"],
            f"{entry['pages']:,}",
            entry["tier"],
            "pinned" if entry["pins"] else "",
            f"{entry['length']:,}",
            _date(entry["modified"]),
            _name(entry),
        )
        for entry in entries
    ]
    return table(("MODE", "OWNER", "PAGES", "TIER", "", "TOKENS", "MODIFIED", "NAME"), rows)


def _by_tier(answer: Any) -> list[tuple[str, int, int]]:
    """Tier, pages, bytes: of all below the path."""
    total = answer["space"][-1] if answer["space"] else {}
    total = next((row for row in answer["space"] if row["path"] == answer["path"]), total)
    return [(tier, total.get(f"{tier}_pages", 0), total.get(f"{tier}_bytes", 0)) for tier in ("device", "host", "disk")]


def _date(seconds: float) -> str:
    """As `ls` does: with the time if it is recent, else with the year."""
    recent = abs(time.time() - seconds) < HALF_YEAR
    return time.strftime("%b %e %H:%M" if recent else "%b %e  %Y", time.localtime(seconds))


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _size(count: int) -> str:
    if not count:
        return "-"
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"
