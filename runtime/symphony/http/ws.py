"""GET /v1/ws: the same as over HTTP, many calls at a time over one WebSocket, in msgpack frames (`symphony.frames`).

    frame --> Call --> a request to the same routes, through the same middlewares --> its answer, as a frame

Each call is a task; what a call may do, and what is wrong with it, is decided where it is for HTTP. A frame that is
none closes the connection with a code of RFC 6455 and a reason. A stream with a window waits until its client says
`more`, so that one that is not read holds up its program and not its neighbours on the connection; without one, the
connection's own flow control holds up all of them. When the connection ends, its calls end as if their clients had
left.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import WSCloseCode, WSMsgType, web

from symphony import frames, param
from symphony.errors import Cancelled, Invalid, LimitExceeded, SymphonyError, Unavailable
from symphony.frames import Call, Cancel, More
from symphony.http.auth import who
from symphony.http.bodies import holding
from symphony.http.call import answered, failed, request_of, value
from symphony.http.context import SINK, SOCKETS
from symphony.http.errors import bug, error_fields
from symphony.http.feed import Item, refused
from symphony.http.wire import encode

log = logging.getLogger(__name__)

FROM_HANDSHAKE = ("Host", "Origin", "Authorization")
"""Headers of the handshake that every call has."""
CLOSE_SECONDS = 2.0
"""Seconds that a client has to answer a close."""
MAX_REASON_BYTES = 123


async def connect(request: web.Request) -> web.StreamResponse:
    """GET /v1/ws"""
    if SINK in request:
        raise Invalid("a WebSocket cannot be opened through another", "send the calls themselves")
    if len(request.app[SOCKETS]) >= param.MAX_SOCKETS:
        raise Unavailable(f"{param.MAX_SOCKETS} WebSockets are open", "use HTTP, or try again")
    tenant = who(request).tenant
    if sum(other.tenant == tenant for other in request.app[SOCKETS]) >= param.MAX_SOCKETS_PER_TENANT:
        raise LimitExceeded(
            f"the tenant {tenant} has {param.MAX_SOCKETS_PER_TENANT} WebSockets open",
            "close some: each takes many calls",
        )
    socket = web.WebSocketResponse(
        compress=False,
        max_msg_size=param.MAX_FRAME_BYTES,
        timeout=CLOSE_SECONDS,
        heartbeat=2 * param.HTTP_STALL_SECONDS,  # a ping after so long a silence; half as long for the pong
    )
    if not socket.can_prepare(request):
        raise Invalid("/v1/ws is for WebSockets", "connect with a WebSocket client, or use the other routes over HTTP")
    await socket.prepare(request)
    connection = Connection(request, socket, tenant)
    request.app[SOCKETS].add(connection)
    try:
        await connection.serve()
    finally:
        request.app[SOCKETS].discard(connection)
    return socket


async def close_all(app: web.Application) -> None:
    """At the server's end: let calls that have ended say so, then close. Call it once all processes are killed."""
    await asyncio.gather(*(connection.leave() for connection in list(app[SOCKETS])))


class Connection:
    """One WebSocket and its calls in flight, by the client's ids."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, tenant: str) -> None:
        self.tenant = tenant
        self._request = request
        self._socket = socket
        self._headers = {name: request.headers[name] for name in FROM_HANDSHAKE if name in request.headers}
        self._calls: dict[int, _Running] = {}
        self._held = 0
        """Bytes of the frames of all calls in flight."""

    async def serve(self) -> None:
        """Take frames until either end closes; by the end no call is left."""
        try:
            async for message in self._socket:
                if message.type is WSMsgType.BINARY:
                    await self._take(message.data)
                elif message.type is WSMsgType.TEXT:
                    await self._refuse(WSCloseCode.UNSUPPORTED_DATA, "frames are msgpack, in binary messages")
        finally:
            tasks = [call.task for call in self._calls.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def leave(self) -> None:
        tasks = [call.task for call in self._calls.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
        await self._close(WSCloseCode.GOING_AWAY, b"the server ends")

    def cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()  # type: ignore[attr-defined]  # aiohttp calls any transport asyncio.Transport

    async def send(self, frame: Mapping[str, Any], *, counted: bool) -> None:
        """`counted`: raises LimitExceeded or Unavailable where too much waits for this client to take it."""
        data = frames.encode(frame)
        with holding(self._request, len(data) if counted else 0):
            await self._socket.send_bytes(data)

    async def ping(self) -> None:
        await self._socket.ping()

    async def _refuse(self, code: WSCloseCode, why: str) -> None:
        reason = why.encode(errors="replace")[:MAX_REASON_BYTES].decode(errors="ignore").encode()
        await self._close(code, reason)

    async def _close(self, code: WSCloseCode, reason: bytes) -> None:
        with self._cut_after(CLOSE_SECONDS):  # a client that does not read takes no close either
            await self._socket.close(code=code, message=reason)

    @contextmanager
    def _cut_after(self, seconds: float) -> Generator[None]:
        """Let go of a client that takes longer for what is sent in the block. (A timeout would cancel the future that
        all who send here wait for.)"""
        timer = asyncio.get_running_loop().call_later(seconds, self.cut)
        try:
            yield
        finally:
            timer.cancel()

    async def _reply(self, answer: Mapping[str, Any]) -> None:
        """Send the end of a call. A large one counts, as it does over HTTP, until the client takes it."""
        with self._cut_after(param.HTTP_STALL_SECONDS):
            try:
                await self.send(answer, counted=True)
            except (LimitExceeded, Unavailable) as error:
                await self.send(failed(answer["id"], error), counted=False)

    async def _take(self, data: bytes) -> None:
        try:
            frame = frames.decode(data)
        except Invalid as error:
            return await self._refuse(WSCloseCode.INVALID_TEXT, error.message)
        running = self._calls.get(frame.id)
        match frame:
            case Call():
                if running is not None:
                    return await self._refuse(WSCloseCode.POLICY_VIOLATION, f"the call {frame.id} has not ended yet")
                await self._begin(frame, len(data))
            case More():
                if running is not None:
                    running.events.more(frame.frames)
            case Cancel():
                if running is not None:
                    running.cancel()

    async def _begin(self, call: Call, size: int) -> None:
        if not 0 <= call.id <= frames.BIGGEST:
            return await self._refuse(WSCloseCode.POLICY_VIOLATION, "a call's id is a number from 0 to 2^64 - 1")
        if len(self._calls) >= param.MAX_SOCKET_CALLS or self._held + size > param.MAX_FRAME_BYTES:
            error = LimitExceeded(
                f"this WebSocket has {len(self._calls)} calls in flight, of {self._held} bytes",
                f"wait for some, or open another: at most {param.MAX_SOCKET_CALLS} and {param.MAX_FRAME_BYTES} bytes",
            )
            return await self._reply(failed(call.id, error))
        self._held += size
        events = _Events(self, call.id, call.window)
        task = asyncio.create_task(self._answer(call, events, size))
        self._calls[call.id] = _Running(task, events)

    async def _answer(self, call: Call, events: _Events, size: int) -> None:
        """Serve one call to its end; it counts as in flight until its answer is on its way. Never raises but
        CancelledError, and that only once the connection has ended."""
        try:
            try:
                answer = await self._served(call, events)
            except asyncio.CancelledError:
                if self._socket.closed:
                    raise
                answer = failed(call.id, events.why)
            self._calls[call.id].ends = True
            await self._reply(answer)
        except ConnectionError:
            log.debug("a client left before the answer to its call %d", call.id)
        finally:
            self._held -= size
            del self._calls[call.id]

    async def _served(self, call: Call, events: _Events) -> dict[str, Any]:
        try:
            request = request_of(call, self._request, self._headers)
            request[SINK] = events
            response = await request.app._handle(request)  # the application as aiohttp's server calls it
            return answered(call.id, response)
        except SymphonyError as error:
            return failed(call.id, error)
        except web.HTTPException as redirect:
            return answered(call.id, redirect)
        except ConnectionError:
            raise asyncio.CancelledError from None
        except Exception as cause:
            return failed(call.id, bug(self._request, cause))


class _Running(msgspec.Struct):
    """A call in flight."""

    task: asyncio.Task[None]
    events: _Events
    ends: bool = False
    """Whether its answer is being sent."""

    def cancel(self) -> None:
        """Its client wants no more of it. What is being sent, is: all sends of a connection wait for one future of
        aiohttp, and who is torn out of one takes that along."""
        if self.ends:
            return
        if self.events.sending:
            self.events.cancelled = True
        else:
            self.task.cancel()


class _Events:
    """Where the events of one call go (`feed.Sink`)."""

    def __init__(self, connection: Connection, ident: int, window: int) -> None:
        self._connection = connection
        self._id = ident
        self._window = window
        self._away = 0
        """Frames that the client has not taken yet, as far as it said."""
        self._room = asyncio.Event()
        self._waiter: asyncio.Task[Any] | None = None
        """The call's task, while it waits for room."""
        self.why: SymphonyError = Cancelled("the client cancelled the call")
        """What its end is where its task is cancelled."""
        self.sending = False
        self.cancelled = False
        """Whether to end after the frame that is being sent."""

    async def start(self) -> None:
        return

    @property
    def ready(self) -> bool:
        """A frame may have to wait for those of other calls."""
        return False

    def push(self, batch: list[Item]) -> None:
        raise AssertionError("a WebSocket is never ready")

    async def send(self, batch: list[Item]) -> None:
        self.sending = True
        try:
            if not batch:
                return await self._connection.ping()
            try:
                await self._pass_on(batch, counted=batch[-1].kind == "result")
            except (LimitExceeded, Unavailable) as error:
                await self._pass_on(refused(batch, error), counted=False)
        finally:
            self.sending = False
            if self.cancelled:
                raise asyncio.CancelledError
        self._away += 1
        while 0 < self._window <= self._away:
            self._room.clear()
            self._waiter = asyncio.current_task()
            try:
                await self._room.wait()
            finally:
                self._waiter = None

    async def _pass_on(self, batch: list[Item], *, counted: bool) -> None:
        await self._connection.send({"id": self._id, "events": [_event(item) for item in batch]}, counted=counted)

    async def end(self) -> web.StreamResponse:
        return web.Response()

    def cut(self, why: SymphonyError) -> None:
        """A window that stays shut ends its own call; a connection that takes nothing, all of them."""
        if self._waiter is None:
            return self._connection.cut()
        self.why = why
        self._waiter.cancel()

    def more(self, count: int) -> None:
        self._away -= max(0, min(count, self._away))
        self._room.set()


def _event(item: Item) -> tuple[int, str, Any]:
    kind, data, at = item
    try:
        return at, kind, value(encode(data))
    except SymphonyError as error:
        return at, "error", error_fields(error)
