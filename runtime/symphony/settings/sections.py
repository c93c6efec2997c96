"""The sections of the configuration file. `symphony serve --help` and docs/serving.md tell of each setting what its
annotation says; a package with much to set has its sections beside its own code (`outside.config`).

A name is there once in all sections: it is the flag and the variable too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from symphony import param
from symphony.access.tenant import Count, Share, TenantConfig
from symphony.outside.config import EndpointConfig, McpConfig
from symphony.outside.grants import Grant


@dataclass(slots=True, frozen=True)
class ServerSection:
    """`[server]`: where and as what the host serves."""

    host: Annotated[str, Meta(description="The address to serve on; one that others reach needs keys.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="0 takes a free one.")] = 8080
    home: Annotated[
        str | None, Meta(description="Where programs and keys are kept (default: your data directory).")
    ] = None
    tools: Annotated[str | None, Meta(description="A Python file whose public functions are tools.")] = None
    openai: Annotated[str | None, Meta(description="The program that answers OpenAI's routes (default: ours).")] = None
    workers: Annotated[
        Annotated[int, Meta(ge=0, le=param.MAX_WORKERS)],
        Meta(description="Processes that run programs beside the models' own; 0: that one runs them."),
    ] = 0
    least_nice: Annotated[
        Annotated[int, Meta(ge=-20, le=19)],
        Meta(description="The least nice value that clients may ask for, -20 to 19; lower ones go first."),
    ] = 0
    debug: Annotated[bool, Meta(description="Poison freed KV pages, and audit the books when idle. Slow.")] = False
    drain_seconds: Annotated[
        Annotated[float, Meta(ge=0)], Meta(description="Seconds that accepted work has to end after SIGTERM.")
    ] = param.DRAIN_SECONDS


@dataclass(slots=True, frozen=True)
class ModelsSection:
    """`[models]`: what runs, and where."""

    model: Annotated[
        tuple[str, ...],
        Meta(description="[NAME=]MODEL, a model's name or directory; of several, the first is the programs' default."),
    ] = ("tiny",)
    device: Annotated[str | None, Meta(description="cpu, cuda or cuda:N (default: CUDA if there is one).")] = None
    attention: Annotated[
        Literal["flash", "triton", "torch"] | None, Meta(description="The attention back end: flash, triton or torch.")
    ] = None
    pages: Annotated[
        Annotated[int, Meta(ge=2)] | None,
        Meta(description="KV pages on the model's device, 2 or more (default: by memory)."),
    ] = None
    host_pages: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="KV pages in host memory (default: by memory); 0: no such tier."),
    ] = None
    disk_bytes: Annotated[
        Annotated[int, Meta(ge=0)], Meta(description="Bytes on disk for KV files, of each model.")
    ] = param.DISK_BYTES
    guesses: Annotated[
        Literal["on", "off"],
        Meta(description="On a GPU, run ahead of programs that mostly choose the likeliest token: on or off."),
    ] = "on"


@dataclass(slots=True, frozen=True)
class LimitsSection:
    """`[limits]`: how much of the machine programs may have; of one tenant, unless `[tenants.NAME]` says otherwise."""

    processes: Annotated[Count, Meta(description="Processes that may be live.")] = param.MAX_PROCESSES
    processes_per_tenant: Annotated[Count, Meta(description="Of one tenant.")] = param.MAX_PROCESSES_PER_TENANT
    waiting: Annotated[Count, Meta(description="Launches that may wait for a place.")] = param.MAX_WAITING_LAUNCHES
    waiting_per_tenant: Annotated[Count, Meta(description="Of one tenant.")] = param.MAX_WAITING_PER_TENANT
    tokens_per_second: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="Tokens that one tenant may have computed (default: no limit)."),
    ] = None
    requests_per_second: Annotated[
        Annotated[float, Meta(gt=0)] | None, Meta(description="Requests that one tenant may make (default: no limit).")
    ] = None
    program_bytes: Annotated[Count, Meta(description="Bytes of the stored programs of one tenant.")] = (
        param.TENANT_PROGRAM_BYTES
    )
    page_share: Annotated[Share, Meta(description="Share of the device's KV pages that one tenant may have.")] = (
        param.TENANT_PAGE_SHARE
    )
    slot_share: Annotated[Share, Meta(description="Share of the host's KV pages that one tenant may have.")] = (
        param.TENANT_SLOT_SHARE
    )
    disk_share: Annotated[Share, Meta(description="Share of the bytes on disk that one tenant may have.")] = (
        param.TENANT_DISK_SHARE
    )


@dataclass(slots=True, frozen=True)
class ObserveSection:
    """`[observe]`: what the host writes down (docs/observing.md)."""

    log: Annotated[Literal["text", "json"], Meta(description="How the log is written: text or json.")] = "text"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="From which level on; at info, each request and process has its lines."),
    ] = "warning"
    trace: Annotated[bool, Meta(description="Record the timeline of every process, not only where asked for.")] = False


@dataclass(slots=True, frozen=True)
class Settings:
    """The whole file."""

    server: ServerSection = field(default_factory=ServerSection)
    models: ModelsSection = field(default_factory=ModelsSection)
    limits: LimitsSection = field(default_factory=LimitsSection)
    observe: ObserveSection = field(default_factory=ObserveSection)
    tenants: Annotated[
        Mapping[str, TenantConfig], Meta(description="Weights and quotas of single tenants (docs/serving.md).")
    ] = field(default_factory=dict[str, TenantConfig])
    endpoints: Annotated[Mapping[str, EndpointConfig], Meta(description="URLs that are tools (docs/tools.md).")] = (
        field(default_factory=dict[str, EndpointConfig])
    )
    mcp: Annotated[Mapping[str, McpConfig], Meta(description="MCP servers whose tools are ours (docs/tools.md).")] = (
        field(default_factory=dict[str, McpConfig])
    )
    grants: Annotated[tuple[Grant, ...], Meta(description="Who may call and fetch what (docs/tools.md).")] = ()
