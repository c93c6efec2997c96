"""The books of a `Tree`, audited: names lead to files, files know their names, and each tenant's are counted.

Reads everything, changes nothing; O(all names). The companion of `integrity.py`, which audits pages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from symphony.errors import InternalError
from symphony.kvfs.file import File
from symphony.kvfs.names import Directory
from symphony.kvfs.tree import Tree


def check_names(tree: Tree) -> None:
    """Raises InternalError that lists what is wrong."""
    wrong = list(_wrong(tree))
    if wrong:
        raise InternalError("KVFS integrity: " + "; ".join(wrong))


def _wrong(tree: Tree) -> Iterable[str]:
    places: dict[File, set[tuple[Directory, str]]] = {}
    counts: Counter[str] = Counter()
    for tenant, root in [*tree.roots.items(), (None, tree.shared)]:
        for parts, node in root.walk():
            path, parent = "/".join(("", *parts)), root.find(parts[:-1])
            assert isinstance(parent, Directory)
            if isinstance(node, File):
                places.setdefault(node, set()).add((parent, parts[-1]))
                counts[node.tenant] += 1
                if tenant not in (None, node.tenant):
                    yield f"{path} of {tenant} leads to a file of {node.tenant}"
                continue
            if node.maker is not None:
                counts[node.maker] += 1
            if node.parent is not parent or node.name != parts[-1] or not (node.members or node.maker):
                yield f"the directory {path} is lost or empty"
    if counts != tree.counts:
        yield f"there are {dict(counts)} names, counted are {dict(tree.counts)}"
    for file in {**tree.kvfs.files, **dict.fromkeys(places)}:
        if set(file.names) != places.get(file, set()):
            yield f"a file has {len(places.get(file, set()))} names and knows of {len(file.names)}"
        if file not in tree.kvfs.files:
            yield "a name leads to a file that has ended"
        if file.ttl is not None and file.names and not file.opens and file not in tree.agenda:
            yield "nobody looks after a time to live"
