"""The options of a command that boots a host: one for each setting, and `--config`; and what they mean to the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from symphony.access.tenant import said
from symphony.settings.reader import PREFIX, Setting, read, settings_of
from symphony.settings.sections import Settings

if TYPE_CHECKING:
    from symphony.host import Config
    from symphony.pace import Pace


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Gives the command its `settings`. They are read, and refused, before it begins."""

    @wraps(command)
    def configured(config: str | None, **given: Any) -> Any:
        names = [setting.name for setting in settings_of(Settings)]
        flags = {name: _given(given.pop(name)) for name in names}
        return command(settings=read(Settings, Path(config) if config else None, flags=flags), **given)

    for setting in reversed(settings_of(Settings)):
        configured = _option(setting)(configured)
    return click.option("--config", metavar="FILE", envvar=f"{PREFIX}CONFIG", help="The configuration file, in TOML.")(
        configured
    )


def _option(setting: Setting) -> Callable[..., Any]:
    if setting.is_switch:
        return click.option(setting.flag, setting.name, is_flag=True, default=None, help=setting.says)
    shown = setting.default
    told = f"  [default: {shown}]" if isinstance(shown, str | int | float) else ""
    metavar = "JSON" if not setting.section else "X"
    return click.option(
        setting.flag, setting.name, multiple=setting.is_many, metavar=metavar, help=f"{setting.says}{told}"
    )


def _given(value: Any) -> Any:
    """As click has it: a switch that was not given is None, a list that was not given is empty."""
    if value is True:
        return "true"
    return list(value) if isinstance(value, tuple) and value else value or None


def host_config(settings: Settings) -> Config:
    """What the settings say of a host, in the host's own words."""
    from symphony.core.config import CoreConfig
    from symphony.core.depot import DiskLimits
    from symphony.host import Config
    from symphony.outside.config import OutsideConfig
    from symphony.sched.admission import AdmissionLimits

    server, models, limits, tenants = settings.server, settings.models, settings.limits, settings.tenants
    core = CoreConfig(
        tenant_weights={name: tenant.weight for name, tenant in tenants.items()},
        tenant_page_share=limits.page_share,
        tenant_page_shares=said(tenants, lambda tenant: tenant.page_share),
        tenant_slot_share=limits.slot_share,
        tenant_slot_shares=said(tenants, lambda tenant: tenant.slot_share),
        disk=DiskLimits(models.disk_bytes, limits.disk_share, said(tenants, lambda tenant: tenant.disk_share)),
        guesses=models.guesses == "on",
        tenant_tokens=limits.tokens_per_second,
        tenants_tokens=said(tenants, lambda tenant: tenant.tokens_per_second),
        debug=server.debug,
    )
    admission = AdmissionLimits(
        limits.processes,
        limits.processes_per_tenant,
        limits.waiting,
        limits.waiting_per_tenant,
        said(tenants, lambda tenant: tenant.processes),
        said(tenants, lambda tenant: tenant.waiting),
    )
    return Config(
        core=core,
        pages=models.pages,
        host_pages=models.host_pages,
        admission=admission,
        least_nice=server.least_nice,
        trace=settings.observe.trace,
        workers=server.workers,
        openai=Path(server.openai) if server.openai is not None else None,
        outside=OutsideConfig(settings.endpoints, settings.mcp, settings.grants),
        program_bytes=limits.program_bytes,
        programs_bytes=said(tenants, lambda tenant: tenant.program_bytes),
        sharers=frozenset(name for name, tenant in tenants.items() if tenant.share),
    )


def requests_pace(settings: Settings) -> Pace:
    """Of the tenants' requests."""
    from symphony.pace import Pace

    return Pace(settings.limits.requests_per_second, said(settings.tenants, lambda tenant: tenant.requests_per_second))
