"""Where a path leads in a tree of names, and whether something could be put there. Knows nothing of who asks."""

from __future__ import annotations

from typing import NamedTuple

from symphony.errors import LimitExceeded
from symphony.kvfs.file import File
from symphony.kvfs.names import Directory, Parts
from symphony.param import MAX_DIRECTORY_NAMES


class Spot(NamedTuple):
    """Where a path leads: `parts` below `root`, which may be there or not."""

    root: Directory
    parts: Parts
    path: str

    def find(self) -> Directory | File | None:
        return self.root.find(self.parts)

    def check_free(self) -> None:
        """Raises Exists."""
        self.root.check_free(self.parts, self.path)

    def check_room(self) -> None:
        """Raises LimitExceeded if the directory is full."""
        directory = self.root
        for part in self.parts[:-1]:
            below = directory.members.get(part)
            if not isinstance(below, Directory):
                break
            directory = below
        if len(directory.members) >= MAX_DIRECTORY_NAMES:
            raise LimitExceeded(
                f"{self.path}: the directory has {MAX_DIRECTORY_NAMES} names, the most there may be",
                "spread them over more directories",
            )
