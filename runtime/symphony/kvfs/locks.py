"""Advisory locks on files: one writer or many readers, first come, first served.

                       nobody incompatible holds it,
                       nobody waits before it
    (new) ──request──▶ WAITING ─────────────────────▶ HELD
                          │ refused: it would          │
                          │ close a cycle              │
                          └──────────▶ GONE ◀──────────┘  dropped, or its session ended

A lock is on the file, not on a handle or a name; a fork has none of its own. Waiters are served in order, so a writer
is not passed by later readers. Who waits for whom is a graph over sessions: a request waits for the sessions of the
incompatible locks that are held, or asked for before it. A wait that would close a cycle there is refused at once, so
there is never one. Pure: knows of files and sessions only that they are different. Semantics 4.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable

from symphony.errors import Busy, LimitExceeded
from symphony.param import MAX_LOCKS


class Lock:
    """A lock that a session holds (`held`) or waits for."""

    __slots__ = ("file", "held", "number", "session", "shared")

    def __init__(self, file: Hashable, session: Hashable, shared: bool, number: int) -> None:
        self.file = file
        self.session = session
        self.shared = shared
        self.number = number
        """Older ones have smaller numbers."""
        self.held = False

    def bars(self, other: Lock) -> bool:
        """Whether both cannot be held at once."""
        return not (self.shared and other.shared)


class _Queue:
    """The locks of one file, oldest first each."""

    __slots__ = ("holders", "waiting")

    def __init__(self) -> None:
        self.holders: dict[Lock, None] = {}
        self.waiting: dict[Lock, None] = {}

    def admits(self, lock: Lock) -> bool:
        """Whether nobody who holds one stands against it: holders are all shared, or one."""
        return not self.holders or not lock.bars(next(iter(self.holders)))


class Locks:
    """All methods return at once."""

    def __init__(self, max_locks: int = MAX_LOCKS) -> None:
        self.max_locks = max_locks
        self._queues: dict[Hashable, _Queue] = {}
        self._waiting: dict[Hashable, dict[Lock, None]] = {}
        """What each session waits for."""
        self._counts: Counter[Hashable] = Counter()
        self._number = 0

    def request(self, file: Hashable, session: Hashable, shared: bool) -> Lock:
        """Take the lock if it is free, else get in line: `held` tells.

        Raises Busy if this wait would close a cycle, a session that waits for itself included; LimitExceeded.
        """
        lock, queue = self._new(file, session, shared)
        if queue.waiting or not queue.admits(lock):
            if self._closes_a_cycle(lock, queue):
                raise Busy(
                    "waiting for this lock could never end: who holds it waits for a lock of this process",
                    "release yours first, or take locks in one order everywhere",
                )
            self._count(lock, queue)
            queue.waiting[lock] = None
            self._waiting.setdefault(session, {})[lock] = None
        else:
            self._count(lock, queue)
            self._hold(lock, queue)
        return lock

    def attempt(self, file: Hashable, session: Hashable, shared: bool) -> Lock:
        """Take the lock now. Raises Busy (held, or somebody waits for it before), LimitExceeded."""
        lock, queue = self._new(file, session, shared)
        if queue.waiting or not queue.admits(lock):
            raise Busy("the file is locked, or somebody waits for its lock already", "try later, or wait with lock")
        self._count(lock, queue)
        self._hold(lock, queue)
        return lock

    def release(self, lock: Lock) -> list[Lock]:
        """Give the lock back, or leave the line; idempotent. Returns the locks that are held now by that."""
        queue = self._queues.get(lock.file)
        if queue is None or (lock not in queue.holders and lock not in queue.waiting):
            return []
        queue.holders.pop(lock, None)
        if lock in queue.waiting:
            self._stop_waiting(lock, queue)
        lock.held = False
        self._counts[lock.session] -= 1
        if not self._counts[lock.session]:
            del self._counts[lock.session]
        granted: list[Lock] = []
        while queue.waiting and queue.admits(first := next(iter(queue.waiting))):
            self._stop_waiting(first, queue)
            self._hold(first, queue)
            granted.append(first)
        if not queue.holders:
            del self._queues[lock.file]
        return granted

    def __len__(self) -> int:
        """Locks held and waited for."""
        return self._counts.total()

    # ---- the inside ----------------------------------------------------------------------------------------------
    def _new(self, file: Hashable, session: Hashable, shared: bool) -> tuple[Lock, _Queue]:
        if self._counts[session] >= self.max_locks:
            raise LimitExceeded(f"the process holds or waits for {self.max_locks} locks, the limit", "release some")
        self._number += 1
        return Lock(file, session, shared, self._number), self._queues.get(file) or _Queue()

    def _count(self, lock: Lock, queue: _Queue) -> None:
        self._counts[lock.session] += 1
        self._queues[lock.file] = queue

    def _hold(self, lock: Lock, queue: _Queue) -> None:
        queue.holders[lock] = None
        lock.held = True

    def _stop_waiting(self, lock: Lock, queue: _Queue) -> None:
        del queue.waiting[lock]
        waits = self._waiting[lock.session]
        del waits[lock]
        if not waits:
            del self._waiting[lock.session]

    def _closes_a_cycle(self, lock: Lock, queue: _Queue) -> bool:
        """Whether a session that `lock` would wait for waits, directly or not, for the session of `lock`.

        Looks at each lock once for the readers and once for the writers that wait behind it, however many they are.
        """
        seen: set[Hashable] = set()
        unseen: dict[tuple[Hashable, bool], deque[Lock]] = {}
        stack = [(lock, queue)]
        while stack:
            waiter, line = stack.pop()
            others = unseen.get((waiter.file, waiter.shared))
            if others is None:
                bars = (other for other in (*line.holders, *line.waiting) if other.bars(waiter))
                others = unseen[waiter.file, waiter.shared] = deque(bars)
            while others and (others[0].held or others[0].number < waiter.number):
                session = others.popleft().session
                if session == lock.session:
                    return True
                if session not in seen:
                    seen.add(session)
                    stack += [(wait, self._queues[wait.file]) for wait in self._waiting.get(session, ())]
        return False
