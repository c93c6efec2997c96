"""Who may do what to a file: principals, mode bits, and the one function that refuses.

    bit        5            4           3             2            1            0
          other-write  other-read  tenant-write  tenant-read  owner-write  owner-read

The first class that a principal falls into decides, as in POSIX: the owner by the owner bits, others of the owner's
tenant by the tenant bits, everybody else by the other bits (they can meet a file below `/shared` only). Semantics 20.
This module knows of a file only whose it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from symphony.errors import Invalid, PermissionDenied

if TYPE_CHECKING:
    from symphony.kvfs.file import File

Mode = int
"""Six bits."""

READ, WRITE = 1, 2
BITS = ("owner-read", "owner-write", "tenant-read", "tenant-write", "other-read", "other-write")
"""The names of the bits, lowest first: the flags of `wit/kvfs.wit`."""

DEFAULT_MODE: Mode = 0b000111
"""The owner reads and writes, the tenant reads."""
SHARED_MODE: Mode = 0b010111
"""Of files that are made below `/shared`: everybody reads."""


class Principal(NamedTuple):
    """Who asks."""

    tenant: str
    owner: str
    share: bool = False
    """May change the names below `/shared`."""


def mode_of(bits: frozenset[str]) -> Mode:
    """The mode with these bits. Raises Invalid for a bit that there is not."""
    unknown = bits - set(BITS)
    if unknown:
        raise Invalid(f"mode: there is no bit {min(unknown)}", f"the bits are {', '.join(BITS)}")
    return sum(1 << i for i, bit in enumerate(BITS) if bit in bits)


def bits_of(mode: Mode) -> frozenset[str]:
    return frozenset(bit for i, bit in enumerate(BITS) if mode >> i & 1)


def rights(file: File, who: Principal) -> int:
    """READ and WRITE, as far as `who` has them on the file."""
    if file.tenant != who.tenant:
        return file.mode >> 4
    return file.mode & 3 if file.owner == who.owner else file.mode >> 2 & 3


def require(file: File, who: Principal, wanted: int, name: str = "this file") -> None:
    """Raises PermissionDenied, which says whose the file is and which bit would help."""
    if file.owner == who.owner and file.tenant == who.tenant and not wanted & ~file.mode:
        return  # as a rule: one's own
    missing = wanted & ~rights(file, who)
    if not missing:
        return
    what = " and ".join(verb for bit, verb in ((READ, "read"), (WRITE, "write")) if missing & bit)
    if file.tenant != who.tenant:
        whose, bits = "another tenant", "other"
    elif file.owner != who.owner:
        whose, bits = file.owner, "tenant"
    else:
        bit = "owner-read" if missing & READ else "owner-write"
        raise PermissionDenied(
            f"{name} is yours, but its mode has taken from you the right to {what} it", f"set {bit} in its mode"
        )
    flags = " and ".join(f"{bits}-{verb}" for verb in what.split(" and "))
    raise PermissionDenied(
        f"{name} belongs to {whose}, who does not let you {what} it",
        f"its owner can set {flags}" + ("; or open a private copy, without write" if missing == WRITE else ""),
    )


def require_owner(file: File, who: Principal) -> None:
    """Raises PermissionDenied unless the file is one's own."""
    if file.tenant != who.tenant or file.owner != who.owner:
        whose = "another tenant" if file.tenant != who.tenant else file.owner
        raise PermissionDenied(
            f"this file belongs to {whose}", "only its owner can change its mode; a fork is your own"
        )
