"""What an operator says of one tenant: the section `[tenants.NAME]`. What it does not say is as for everybody
(`[limits]`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, TypeVar

from msgspec import Meta

T = TypeVar("T")

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(gt=0, le=1)]
Rate = Annotated[float, Meta(gt=0)]


@dataclass(slots=True, frozen=True)
class TenantConfig:
    """One tenant."""

    weight: Annotated[float, Meta(gt=0, description="Its part of steps, CPU and places where there is not enough.")] = (
        1.0
    )
    processes: Annotated[Count | None, Meta(description="Processes that may be live.")] = None
    waiting: Annotated[Count | None, Meta(description="Launches that may wait for a place.")] = None
    page_share: Annotated[Share | None, Meta(description="Share of the device's KV pages.")] = None
    slot_share: Annotated[Share | None, Meta(description="Share of the host's KV pages.")] = None
    disk_share: Annotated[Share | None, Meta(description="Share of the bytes on disk.")] = None
    tokens_per_second: Annotated[Rate | None, Meta(description="Tokens computed, prompts included.")] = None
    requests_per_second: Annotated[Rate | None, Meta(description="Requests, those over a WebSocket included.")] = None
    program_bytes: Annotated[Count | None, Meta(description="Bytes of all its stored programs.")] = None
    share: Annotated[bool, Meta(description="Whether it may change names below /shared, which all tenants see.")] = (
        False
    )


def said(tenants: Mapping[str, TenantConfig], what: Callable[[TenantConfig], T | None]) -> dict[str, T]:
    """One field, of the tenants that say something about it."""
    found = {name: what(tenant) for name, tenant in tenants.items()}
    return {name: value for name, value in found.items() if value is not None}
