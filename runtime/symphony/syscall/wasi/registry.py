"""Collects handlers under their WIT names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from symphony.syscall.values import Handler

H = TypeVar("H", bound=Handler)


class Registry:
    """Handlers of one or several interfaces, keyed `'wasi:io/poll#poll'`."""

    def __init__(self) -> None:
        self.handlers: dict[str, Handler] = {}

    def on(self, *keys: str) -> Callable[[H], H]:
        """Decorator: serve these functions."""

        def register(handler: H) -> H:
            for key in keys:
                self.handlers[key] = handler
            return handler

        return register


def merged(registries: Iterable[Registry]) -> dict[str, Handler]:
    return {key: handler for registry in registries for key, handler in registry.handlers.items()}
