"""Who shares pages with whom: files as a tree of forks, and the space that they take.

Both are read off the page tables, so they are true by construction: whoever shares leading pages with a file is a fork
of it, or was found in the prefix cache behind it, or is where it came from. A page and its twin on the host are one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from symphony.core.views import Fork, Lens, Space
from symphony.errors import LimitExceeded
from symphony.kvfs.arena import Arena
from symphony.kvfs.file import File
from symphony.param import MAX_SURVEY_FILES, MAX_SURVEY_PAGES

Place = tuple[Arena, int]
"""A page of the device, or (negative) a slot of the host that no page is a twin of."""


def forks(lens: Lens, path: str) -> list[Fork]:
    """The files below a path, and the open ones that have no name: all of the tenant at the root, elsewhere those that
    descend from a file below the path. Raises NotFound, Invalid, LimitExceeded."""
    wanted = {node: name for name, node in reversed(lens.below(path)) if isinstance(node, File)}
    files = lens.visible()
    _check_pages(files)
    parents = _parents(files)
    kept: dict[File, None] = {}
    for file in files:  # parents stand before their forks
        if file in wanted or (not file.names and (path == "/" or parents[file][0] in kept)):
            kept[file] = None
    _check_files(kept)
    ids = {file: number for number, file in enumerate(files)}
    chosen: list[Fork] = []
    for file in kept:
        parent, shared = parents[file]
        names = lens.names(parent) if parent is not None else []
        chosen.append(
            Fork(
                id=ids[file],
                file=lens.file(file, wanted.get(file, "")),
                parent=None if parent is None else ids[parent],
                parent_path=names[0] if names else "",
                shared=shared,
            )
        )
    return chosen


def space(lens: Lens, path: str, page_bytes: dict[str, int]) -> list[Space]:
    """What each member of a directory takes, the open files without a name (of the root), and all of them together;
    of a file, what it takes. Raises NotFound, Invalid, LimitExceeded."""
    groups: dict[str, dict[File, None]] = {}
    prefix = "" if path == "/" else path
    for name, node in lens.below(path):
        if isinstance(node, File):
            member = "/".join(name.split("/")[: prefix.count("/") + 2]) if name != path else name
            groups.setdefault(member, {})[node] = None
    if path == "/":
        unnamed = [file for file in lens.visible() if not file.names]
        if unnamed:
            groups[""] = dict.fromkeys(unnamed)
    everything = {file: None for files in groups.values() for file in files}
    _check_files(everything)
    _check_pages(everything)
    rows = [_space(name, files, page_bytes) for name, files in sorted(groups.items(), key=lambda group: group[0])]
    if path in groups:
        return rows
    return [*rows, _space(path, everything, page_bytes)]


def _parents(files: Sequence[File]) -> dict[File, tuple[File | None, int]]:
    """Of each file: the first of those before it that has the most leading pages in common with it, and how many.

    A trie over page tables, one node a prefix; each node belongs to the first file that has the prefix.
    """
    nodes: dict[tuple[int, Place], int] = {}
    first: list[File] = []
    parents: dict[File, tuple[File | None, int]] = {}
    for file in files:
        node, depth = -1, 0
        places = _places(file)
        for place in places:
            below = nodes.get((node, place))
            if below is None:
                break
            node, depth = below, depth + 1
        parents[file] = (first[node], depth) if depth else (None, 0)
        for place in places[depth:]:
            nodes[node, place] = node = len(first)
            first.append(file)
    return parents


def _places(file: File) -> list[Place]:
    arena = file.arena
    if file.pages:
        return [(arena, page) for page in file.pages]
    pages = arena.page_of_slot
    return [(arena, pages.get(slot, -1 - slot)) for slot in file.slots]


def _space(path: str, files: Iterable[File], page_bytes: dict[str, int]) -> Space:
    total = Space(path, 0, 0, 0, 0, 0, 0, 0, 0)
    pages: Counter[Place] = Counter()
    slots: Counter[Place] = Counter()
    disk: set[Place] = set()
    for file in files:
        total.files += 1
        total.tokens += file.length
        total.table_pages += len(file.pages) or len(file.slots)
        pages.update((file.arena, page) for page in file.pages)
        slots.update((file.arena, slot) for slot in file.slots)
        if file.image is not None:
            disk.update((file.arena, slot) for slot in file.image.slots)
    total.device_pages, total.host_pages, total.disk_pages = len(pages), len(slots), len(disk)
    total.unique_pages = sum([arena.pool.refs[page] == count for (arena, page), count in pages.items()])
    total.unique_pages += sum([arena.host.refs[slot] == count for (arena, slot), count in slots.items()])
    total.shared_pages = total.device_pages + total.host_pages - total.unique_pages
    for tier, held in (("device", pages), ("host", slots), ("disk", disk)):
        setattr(total, f"{tier}_bytes", sum([page_bytes.get(arena.model, 0) for arena, _ in held]))
    total.bytes = total.device_bytes + total.host_bytes
    return total


def _check_files(files: Collection[File]) -> None:
    if len(files) > MAX_SURVEY_FILES:
        raise LimitExceeded(
            f"there are {len(files)} files, more than the {MAX_SURVEY_FILES} that one look may show",
            "look at a directory further down, or list it (ls)",
        )


def _check_pages(files: Iterable[File]) -> None:
    size = sum([len(file.pages) + len(file.slots) for file in files])
    if size > MAX_SURVEY_PAGES:
        raise LimitExceeded(
            f"the page tables have {size} entries, more than the {MAX_SURVEY_PAGES} that one look may take",
            "look at a directory further down (du), or at single files (stat)",
        )
