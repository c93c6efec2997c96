"""Drawing with characters: names in columns, files as trees, how full something is.

Works on the JSON of `GET /v1/fs/{path}?tree=1`; knows neither commands nor terminals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from symphony.cli.terminal import cells

File = Mapping[str, Any]
ALIKE = 8
"""Open forks of one file that are drawn one by one."""


@dataclass(slots=True)
class Node:
    """A line of a tree, and what hangs below it."""

    label: str
    file: File | None = None
    below: list[Node] = field(default_factory=list["Node"])


def draw_directories(path: str, files: Sequence[File], *, whole: bool = False) -> list[str]:
    """Directories with their files; open files without a name hang below the one that they share the most with."""
    root = Node(path)
    places: dict[str, Node] = {"" if path == "/" else path: root}
    nodes: dict[int, Node] = {}
    for file in files:
        node = nodes[file["id"]] = Node(_label(file), file)
        if file["path"] == path:
            places[path], root = node, node
            node.label = path
        elif file["path"]:
            node.label = file["path"].rpartition("/")[2]
            _directory(places, file["path"].rpartition("/")[0]).below.append(node)
        else:
            nodes.get(file["parent"], root).below.append(node)
    _sort(root)
    return _lines(root, whole, named_forks=True)


def draw_forks(path: str, files: Sequence[File], *, whole: bool = False) -> list[str]:
    """Every file below the one that it shares the most with, whatever their names are."""
    root = Node(path)
    nodes: dict[int, Node] = {}
    for file in files:
        node = nodes[file["id"]] = Node(file["path"] or _label(file), file)
        nodes.get(file["parent"], root).below.append(node)
    return _lines(root, whole, named_forks=False)


def columns(names: Sequence[str], width: int) -> str:
    """Names side by side, downwards first, as many as fit; one a line without a width."""
    if not names or not width:
        return "\n".join(names)
    one = max(map(cells, names)) + 2
    across = max(min((width + 2) // one, len(names)), 1)
    down = -(-len(names) // across)
    rows = [names[row::down] for row in range(down)]
    return "\n".join("".join(name + " " * (one - cells(name)) for name in row).rstrip() for row in rows)


def bar(parts: Sequence[tuple[int, str]], whole: int, width: int) -> str:
    """Parts of a whole as so many characters each; what is left is dots. A part that is not empty is seen."""
    drawn = ""
    done = 0
    for count, character in parts:
        done += count
        end = round(done / whole * width) if whole else 0
        drawn += character * max(end - len(drawn), 1 if count and len(drawn) < width else 0)
    return drawn[:width].ljust(width, "·")


def _directory(places: dict[str, Node], path: str) -> Node:
    found = places.get(path)
    if found is None:
        above, _, name = path.rpartition("/")
        found = places[path] = Node(f"{name}/")
        _directory(places, above).below.append(found)
    return found


def _sort(node: Node) -> None:
    node.below.sort(key=lambda below: (below.file is not None and not below.file["path"], below.label))
    for below in node.below:
        _sort(below)


def _label(file: File) -> str:
    pids = ", ".join(map(str, file["pids"]))
    return f"(open in process {pids})" if pids else "(open)"


def _lines(root: Node, whole: bool, named_forks: bool) -> list[str]:
    lines = list(_walk(root, "", "", whole))
    width = max(cells(text) for text, _ in lines)
    return [
        f"{text}{' ' * (width - cells(text))}  {_detail(file, named_forks)}" if file is not None else text
        for text, file in lines
    ]


def _walk(node: Node, lead: str, branch: str, whole: bool) -> Iterator[tuple[str, File | None]]:
    yield f"{lead}{branch}{node.label}", node.file
    if branch:
        lead += "│   " if branch.startswith("├") else "    "
    shown = node.below
    open_ones = [below for below in shown if below.file is not None and not below.file["path"]]
    hidden = len(open_ones) - ALIKE if not whole else 0
    if hidden > 0:
        dropped = {id(below) for below in open_ones[ALIKE:]}
        more = Node(f"({hidden} more open files; --all draws them)")
        shown = [*(below for below in shown if id(below) not in dropped), more]
    for below in shown:
        yield from _walk(below, lead, "└── " if below is shown[-1] else "├── ", whole)


def _detail(file: File, named_forks: bool) -> str:
    text = f"{file['length']:,} tokens, {file['pages']:,} pages, {file['tier']}"
    if file["pins"]:
        text += ", pinned"
    if file["shared"]:
        text += f", {file['shared']:,} shared"
        if named_forks and file["path"]:
            text += f" with {file['parent_path'] or 'an open file'}"
    others = [name for name in file["names"] if name != file["path"]]
    return f"{text}, also {', '.join(others)}" if others and file["path"] else text
