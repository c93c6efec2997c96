"""The fixtures of the command tests."""

from commands_fixture import runtimes, server, terminal

__all__ = ["runtimes", "server", "terminal"]
