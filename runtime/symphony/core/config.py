"""Limits and policies of a core, in one record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from symphony.core.depot import DiskLimits
from symphony.core.loop import TIMER_RESOLUTION
from symphony.core.victims import RoomLimits
from symphony.param import (
    DISK_BYTES,
    KEPT_SHARE,
    MAX_CONSTRAINTS,
    MAX_FILES_PER_TENANT,
    MAX_KEPT_ROWS,
    MAX_LOCKS,
    MAX_NAMES_PER_TENANT,
    MAX_OPEN_FILES,
    MAX_OPERATIONS,
    TENANT_DISK_SHARE,
    TENANT_PAGE_SHARE,
    TENANT_SLOT_SHARE,
)
from symphony.sched.adaptive import Adaptive
from symphony.sched.batch import BatchLimits
from symphony.sched.dispatch import Dispatch


@dataclass(slots=True, frozen=True)
class CoreConfig:
    """Limits and policies; the defaults are those of `param.py`."""

    batch: BatchLimits | None = None
    """None: what suits the device of each model."""
    tenant_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    dispatch: Callable[[], Dispatch] = Adaptive
    max_open_files: int = MAX_OPEN_FILES
    max_operations: int = MAX_OPERATIONS
    max_locks: int = MAX_LOCKS
    max_constraints: int = MAX_CONSTRAINTS
    max_kept_rows: int = MAX_KEPT_ROWS
    max_names: int = MAX_NAMES_PER_TENANT
    """Of one tenant; so is the next."""
    max_files: int = MAX_FILES_PER_TENANT
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    """Seconds since the epoch, for the times of files."""
    timer_resolution: float = TIMER_RESOLUTION
    pipelined: bool | None = None
    """Whether steps are launched before the ones before them are over; None: where the engine gains by it."""
    guesses: bool = True
    """Whether the rows of guests that say the most probable token are launched before they say it, where steps are
    launched ahead (`guess`)."""
    room: RoomLimits = field(default_factory=RoomLimits)
    tenant_page_share: float = TENANT_PAGE_SHARE
    tenant_slot_share: float = TENANT_SLOT_SHARE
    tenant_page_shares: Mapping[str, float] = field(default_factory=dict[str, float])
    """Of tenants with a share of their own; so are the next."""
    tenant_slot_shares: Mapping[str, float] = field(default_factory=dict[str, float])
    tenant_tokens: float | None = None
    """Tokens a second that one tenant's programs may have computed, prompts included; None: no limit..."""
    tenants_tokens: Mapping[str, float] = field(default_factory=dict[str, float])
    """...and for those with a rate of their own."""
    kept_share: float = KEPT_SHARE
    disk: DiskLimits = field(default_factory=lambda: DiskLimits(DISK_BYTES, TENANT_DISK_SHARE))
    debug: bool = False
    """Freed pages are poisoned, and the books audited whenever nothing is in flight. Slow."""
