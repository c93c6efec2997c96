"""Where the files lie that travel with the package: ABI, SDK, samples, benchmark guests.

In an installed wheel they are below `symphony/_data` (pyproject.toml puts them there), in a source checkout at their
own places. Knows nothing of what is in them.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(packaged: str, in_checkout: str) -> Path:
    """The folder `_data/<packaged>` of a wheel, else `<in_checkout>` of the checkout; it may be missing there."""
    wheel = _PACKAGE / "_data" / packaged
    return wheel if wheel.is_dir() else _PACKAGE.parents[1] / in_checkout
