"""Random histories of names by three principals of two tenants against a plain model: a dict from paths to files.

The model knows no tree: a directory is a path that another one begins with, or that is in a set of made ones. It says
of each call whether it works, and what then is where.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from symphony.errors import SymphonyError
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import DEFAULT_MODE, SHARED_MODE, Principal
from symphony.kvfs.names_integrity import check_names
from symphony.kvfs.tree import Tree

PEOPLE = (Principal("t", "ann", True), Principal("t", "ben"), Principal("u", "eve", True))
LOCAL = ("/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/f", "/x/y")
SHARED = ("/shared/a", "/shared/d", "/shared/d/a", "/shared/d/e/f")
who_asks = st.sampled_from(PEOPLE)
paths = st.sampled_from(LOCAL + SHARED)
modes = st.sampled_from([DEFAULT_MODE, SHARED_MODE, 0b000000, 0b111111, 0b001111, 0b000011, 0b110000])

Place = tuple[str, str]
"""(tenant, or none for what is shared; path)."""


class Thing:
    """A file, as the model sees it."""

    def __init__(self, who: Principal, mode: int, number: int) -> None:
        self.tenant, self.owner, self.mode, self.number = who.tenant, who.owner, mode, number

    def allows(self, who: Principal, bits: int) -> bool:
        shift = 4 if who.tenant != self.tenant else 2 if who.owner != self.owner else 0
        return self.mode >> shift & bits == bits


class Machine(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.kvfs = Kvfs(clock=lambda: 0.0)
        self.kvfs.mount("m", "digest", 4, 9)
        self.tree = Tree(self.kvfs)
        self.names: dict[Place, Thing] = {}
        self.made: dict[Place, str] = {}
        self.count = 0

    # ---- the model
    def place(self, who: Principal, path: str) -> Place:
        return ("" if path.startswith("/shared") else who.tenant, path)

    def below(self, place: Place) -> list[Place]:
        return [p for p in {**self.names, **self.made} if p[0] == place[0] and p[1].startswith(place[1] + "/")]

    def directory(self, place: Place) -> bool:
        return place in self.made or bool(self.below(place))

    def free(self, place: Place) -> bool:
        tenant, path = place
        above = {(tenant, path[:i]) for i, c in enumerate(path) if c == "/"}
        return place not in self.names and not self.directory(place) and not above & self.names.keys()

    def may_change(self, who: Principal, place: Place) -> bool:
        return bool(place[0]) or who.share

    def expect(self, works: bool, call: Callable[[], object]) -> None:
        if works:
            call()
            return
        with pytest.raises(SymphonyError) as caught:
            call()
        assert caught.value.hint

    # ---- rules
    @rule(who=who_asks, path=paths, overwrite=st.booleans(), linked=st.booleans(), mode=modes)
    def save_or_link(self, who: Principal, path: str, overwrite: bool, linked: bool, mode: int) -> None:
        place = self.place(who, path)
        self.count += 1
        file = self.kvfs.create(who.tenant, who.owner, "m")
        self.kvfs.begin(file, [0] * self.count)
        self.kvfs.settle(file, self.count)
        old = self.names.get(place)
        if linked:
            self.tree.set_mode(who, file, mode)
            works = self.free(place) and bool(mode & 2)
            call = lambda: self.tree.link(who, file, path)  # noqa: E731
        else:
            works = self.free(place) or (old is not None and overwrite and old.allows(who, 2))
            call = lambda: self.tree.save(who, file, path, overwrite)  # noqa: E731
            mode = DEFAULT_MODE if place[0] else SHARED_MODE
        works = works and self.may_change(who, place)
        self.expect(works, call)
        if works:
            self.names[place] = Thing(who, mode, self.count)
        self.kvfs.close(file)

    @rule(who=who_asks, path=paths)
    def mkdir(self, who: Principal, path: str) -> None:
        place = self.place(who, path)
        works = self.free(place) or (bool(self.below(place)) and place not in self.made)
        works = works and self.may_change(who, place)
        self.expect(works, lambda: self.tree.mkdir(who, path))
        if works:
            self.made[place] = who.tenant

    @rule(who=who_asks, path=paths)
    def unlink(self, who: Principal, path: str) -> None:
        place = self.place(who, path)
        thing = self.names.get(place)
        works = thing.allows(who, 2) if thing else self.made.get(place) == who.tenant and not self.below(place)
        works = works and self.may_change(who, place)
        self.expect(works, lambda: self.tree.unlink(who, path))
        if works:
            self.names.pop(place, None)
            self.made.pop(place, None)

    @rule(who=who_asks, old=paths, new=paths)
    def rename(self, who: Principal, old: str, new: str) -> None:
        source, target = self.place(who, old), self.place(who, new)
        there = source in self.names or self.directory(source)
        moved = [source, *self.below(source)] if there else []
        works = there and self.may_change(who, source) and self.may_change(who, target) and self.free(target)
        works = works and not (source[0] == target[0] and target[1].startswith(source[1] + "/"))
        for place in moved:
            thing = self.names.get(place)
            if thing is not None:
                works = works and thing.allows(who, 2) and (not target[0] or thing.tenant == who.tenant)
            works = works and self.made.get(place, who.tenant) == who.tenant
        self.expect(works, lambda: self.tree.rename(who, old, new))
        if works:
            for place in moved:
                there = (target[0], target[1] + place[1][len(source[1]) :])
                if place in self.names:
                    self.names[there] = self.names.pop(place)
                if place in self.made:
                    self.made[there] = self.made.pop(place)

    @rule(who=who_asks, path=paths, write=st.booleans())
    def open(self, who: Principal, path: str, write: bool) -> None:
        place = self.place(who, path)
        thing = self.names.get(place)
        works = thing is not None and thing.allows(who, 3 if write else 1)
        works = works and (not write or self.may_change(who, place))

        def call() -> None:
            file = self.tree.open(who, "m", path, write=write)
            assert file.length == (thing.number if thing else -1)
            assert write or (file.tenant, file.owner, file.names) == (who.tenant, who.owner, {})
            self.kvfs.close(file)

        self.expect(works, call)

    # ---- what must always hold
    @invariant()
    def all_see_what_there_is(self) -> None:
        check_names(self.tree)
        check_integrity(self.kvfs)
        for who in PEOPLE:
            mine = {path: thing for (tenant, path), thing in self.names.items() if tenant in ("", who.tenant)}
            found = self.tree.glob(who, "/**") + self.tree.glob(who, "/shared/**")
            assert sorted(found) == sorted(mine)
            for path, thing in mine.items():
                stat = self.tree.stat_path(who, path)
                assert (stat.length, stat.owner, stat.mode) == (thing.number, thing.owner, thing.mode)
            for path in ("/d", "/shared/d"):
                members = {p[1].removeprefix(path + "/").split("/")[0] for p in self.below(self.place(who, path))}
                if members:
                    assert [entry.name for entry in self.tree.list(who, path)] == sorted(members)
        assert len(self.kvfs.files) == len(self.names)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
