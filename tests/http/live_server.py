"""A server on a thread of its own, for tests that talk to it from outside."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from symphony.host import Runtime
from symphony.http.app import create_app
from symphony.http.server import bind, serving, url_of

R = TypeVar("R")


class Server(Generic[R]):
    """Serves `runtime` (the real one or a fake), which lives in this server's event loop, while the block lasts."""

    def __init__(self, runtime: R, **options: Any) -> None:
        """`options`: of the application."""
        self.runtime = runtime
        self._options = options
        self.listener = bind("127.0.0.1", 0)
        self.url = url_of(self.listener)
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Server[R]:
        self._thread.start()
        assert self._started.wait(120)
        if self._failure is not None:
            raise self._failure
        return self

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of a coroutine, run where the runtime lives."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:
            self._failure = failure
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runtime = cast("Any", self.runtime)
        with self.listener:
            self.app = create_app(cast("Runtime", runtime), **self._options)
            async with runtime, serving(self.app, self.listener):
                self._started.set()
                await self._stop.wait()
