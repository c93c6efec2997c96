"""What `stat` tells about a file. Knows nothing of how it is gathered."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Stat:
    """As in `wit/kvfs.wit`."""

    length: int
    """Tokens, a pending one included."""
    unique_pages: int
    """Pages that only this file holds."""
    shared_pages: int
    """Pages shared with other files or kept by the prefix cache too."""
    owner: str
    created: int
    """Seconds since the epoch."""
    modified: int
    """Seconds since the epoch."""
    names: int
