"""Who a request is from. A tenant has many keys; a key stands for a user of its tenant, in some roles.

Users of a tenant share its programs, its quotas and its fair share; files belong to the user who made them, and their
mode says what others of the tenant may do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from symphony.errors import Invalid

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Role(StrEnum):
    """What a key is for."""

    RUN = "run"
    """Run the tenant's programs, and see and end what one's own user runs."""
    UPLOAD = "upload"
    """Store and remove programs; with RUN, run what was never stored."""
    OPERATE = "operate"
    """See and end all that the tenant runs (of `local`: that any tenant runs), manage its files, read gauges."""


ROLES = frozenset(Role)


@dataclass(slots=True, frozen=True)
class Identity:
    """Who asks."""

    tenant: str
    user: str
    """Owns the files that its programs make."""
    roles: frozenset[Role]
    key: str = ""
    """The key's id; empty: none was asked for."""

    @property
    def runs_the_host(self) -> bool:
        """Whether it operates the host itself: sees and ends what every tenant runs."""
        return self.tenant == LOCAL.tenant and Role.OPERATE in self.roles


LOCAL = Identity("local", "local", ROLES)
"""Everybody who reaches a server without keys."""


def check_name(name: str, what: str) -> None:
    """Raises Invalid for what cannot be the name of a tenant or a user: they become parts of paths."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{name[:100]!r} is no name for a {what}",
            "use up to 64 lower-case letters, digits, '.', '_' and '-', a letter or digit first",
        )
