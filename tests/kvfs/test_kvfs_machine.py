"""Random histories of files by two tenants against a plain model: a file is a list of tokens, nothing more.

A device of hashes stands for the K/V: each slot holds the hash of all tokens up to its entry, so a page that is stale,
foreign, or shared with a writer shows at once.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule
from kvfs_harness import reserve

from symphony.errors import Exists, Invalid, NoSpace, NotFound
from symphony.kvfs.file import File
from symphony.kvfs.integrity import check_integrity
from symphony.kvfs.kvfs import Kvfs
from symphony.kvfs.modes import Principal
from symphony.kvfs.names import parse
from symphony.kvfs.names_integrity import check_names
from symphony.kvfs.tree import Tree

SIZE = 4
PAGES = 13
TENANTS = ("ann", "bob")
PATHS = ("/a", "/b", "/d/a", "/d/b", "/d/e/f")
TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=11)  # two ids: prefixes meet often


def me(tenant: str) -> Principal:
    return Principal(tenant, "me")


class Open:
    """One handle: the real file, and what it should hold."""

    def __init__(self, file: File, content: Shared) -> None:
        self.file = file
        self.content = content


class Shared:
    """The tokens of one file, shared by all its handles and names."""

    def __init__(self, tenant: str, tokens: list[int]) -> None:
        self.tenant = tenant
        self.tokens = tokens


class Machine(RuleBasedStateMachine):
    handles: Bundle[Any] = Bundle("handles")

    @initialize()
    def start(self) -> None:
        self.kvfs = Kvfs(clock=lambda: 0.0)
        self.tree = Tree(self.kvfs)
        self.arena = self.kvfs.mount("m", "digest", SIZE, PAGES)
        self.device: list[list[Any]] = [[None] * SIZE for _ in range(PAGES)]
        self.opened: dict[Open, None] = {}
        self.named: dict[tuple[str, str], Shared] = {}

    def add(self, file: File, content: Shared) -> Open:
        handle = Open(file, content)
        self.opened[handle] = None
        return handle

    def expected_hashes(self, tenant: str, tokens: list[int]) -> list[Any]:
        return [hash((tenant, tuple(tokens[: i + 1]))) for i in range(len(tokens))]

    # ---- rules
    @rule(target=handles, tenant=st.sampled_from(TENANTS))
    def create(self, tenant: str) -> Open:
        return self.add(self.kvfs.create(tenant, "me", "m"), Shared(tenant, []))

    @rule(handle=handles, target=handles)
    def fork(self, handle: Open) -> Any:
        if handle not in self.opened:
            return multiple()
        clone = self.kvfs.fork(handle.file, handle.content.tenant, "me")
        return self.add(clone, Shared(handle.content.tenant, list(handle.content.tokens)))

    @rule(handle=handles, tokens=TOKENS, outcome=st.sampled_from(["commit", "commit", "commit", "fail", "part"]))
    def append(self, handle: Open, tokens: list[int], outcome: str) -> None:
        """An operation: it succeeds, or its row fails, or it is cancelled after a first chunk."""
        if handle not in self.opened:
            return
        file, content = handle.file, handle.content
        self.kvfs.begin(file, tokens)
        assert file.length == len(content.tokens)
        wanted = content.tokens + tokens
        before = file.computed
        found = self.kvfs.reuse(file, len(wanted))
        assert file.computed == before + found
        if len(wanted) > (PAGES - 1) * SIZE:
            with pytest.raises(NoSpace) as e:
                self.kvfs.reserve(file, len(wanted))
            assert f"within {(PAGES - 1) * SIZE} tokens" in e.value.hint
            self.kvfs.settle(file, file.length)
            return
        copies = reserve(self.kvfs, file, len(wanted))
        for source, target in copies:
            self.device[target] = list(self.device[source])
        hashes = self.expected_hashes(content.tenant, wanted)
        end = file.computed + 1 if outcome == "part" and file.computed < len(wanted) else len(wanted)
        for entry in range(file.computed, end):
            self.device[file.pages[entry // SIZE]][entry % SIZE] = hashes[entry]
        self.kvfs.retire(self.arena)
        if outcome != "fail":
            self.kvfs.commit(file, end)
        if outcome == "commit":
            content.tokens += tokens
        self.kvfs.settle(file, len(content.tokens))

    @rule(handle=handles, data=st.data())
    def truncate(self, handle: Open, data: st.DataObject) -> None:
        if handle not in self.opened:
            return
        length = data.draw(st.integers(0, len(handle.content.tokens)))
        self.kvfs.truncate(handle.file, length)
        del handle.content.tokens[length:]
        with pytest.raises(Invalid):
            self.kvfs.truncate(handle.file, length + 1)

    @rule(handle=handles)
    def evict(self, handle: Open) -> None:
        if handle in self.opened:
            self.kvfs.drop(handle.file)

    @rule(handle=handles)
    def close(self, handle: Open) -> None:
        if handle in self.opened:
            del self.opened[handle]
            self.kvfs.close(handle.file)

    @rule(handle=handles, path=st.sampled_from(PATHS), overwrite=st.booleans())
    def save(self, handle: Open, path: str, overwrite: bool) -> None:
        if handle not in self.opened:
            return
        key = (handle.content.tenant, path)
        if key in self.named and not overwrite:
            with pytest.raises(Exists):
                self.tree.save(me(handle.content.tenant), handle.file, path, overwrite)
        else:
            self.tree.save(me(handle.content.tenant), handle.file, path, overwrite)
            self.named[key] = Shared(handle.content.tenant, list(handle.content.tokens))

    @rule(target=handles, tenant=st.sampled_from(TENANTS), path=st.sampled_from(PATHS), write=st.booleans())
    def open(self, tenant: str, path: str, write: bool) -> Any:
        content = self.named.get((tenant, path))
        if content is None:
            with pytest.raises(NotFound):
                self.tree.open(me(tenant), "m", path, write=write)
            return multiple()
        file = self.tree.open(me(tenant), "m", path, write=write)
        return self.add(file, content if write else Shared(tenant, list(content.tokens)))

    @rule(tenant=st.sampled_from(TENANTS), old=st.sampled_from(PATHS), new=st.sampled_from(PATHS))
    def rename(self, tenant: str, old: str, new: str) -> None:
        if (tenant, old) not in self.named:
            with pytest.raises(NotFound):
                self.tree.rename(me(tenant), old, new)
        elif (tenant, new) in self.named:
            with pytest.raises(Exists):
                self.tree.rename(me(tenant), old, new)
        else:
            self.tree.rename(me(tenant), old, new)
            self.named[tenant, new] = self.named.pop((tenant, old))

    @rule(tenant=st.sampled_from(TENANTS), path=st.sampled_from(PATHS))
    def unlink(self, tenant: str, path: str) -> None:
        if (tenant, path) in self.named:
            self.tree.unlink(me(tenant), path)
            del self.named[tenant, path]
        else:
            with pytest.raises(NotFound):
                self.tree.unlink(me(tenant), path)

    # ---- what must always hold
    @invariant()
    def books_agree(self) -> None:
        check_integrity(self.kvfs)
        check_names(self.tree)

    @invariant()
    def files_hold_what_they_should(self) -> None:
        for handle in self.opened:
            self.check(handle.file, handle.content)
        for (tenant, path), content in self.named.items():
            self.check(self.tree.roots[tenant].find(parse(path)), content)
        assert len(self.kvfs.files) == len({id(h.file) for h in self.opened} | self.named_ids())

    def named_ids(self) -> set[int]:
        return {id(self.tree.roots[tenant].find(parse(path))) for tenant, path in self.named}

    def check(self, file: File, content: Shared) -> None:
        assert file.tokens.tolist() == content.tokens
        hashes = self.expected_hashes(content.tenant, content.tokens)
        for entry in range(file.computed):
            assert self.device[file.pages[entry // SIZE]][entry % SIZE] == hashes[entry]

    def teardown(self) -> None:
        for handle in self.opened:
            self.kvfs.close(handle.file)
        for tenant, path in self.named:
            self.tree.unlink(me(tenant), path)
        check_integrity(self.kvfs)
        check_names(self.tree)
        assert not self.kvfs.files
        assert self.arena.available == PAGES - 1


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
