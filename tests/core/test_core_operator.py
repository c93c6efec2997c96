"""What an operator sees of files and does to them: names, forks, space, pins."""

from __future__ import annotations

import pytest
from core_harness import Host, run

from symphony.core.operator import Operator
from symphony.core.views import FileView
from symphony.errors import Busy, Exists, Invalid, LimitExceeded, NotFound, PermissionDenied
from symphony.kvfs.modes import Principal
from symphony.param import MAX_SHOWN_NAMES

WHO = Principal("a", "a")
STRANGER = Principal("b", "b")
PAGE = 16


async def made(h: Host, path: str, tokens: int, tenant: str = "a", *, base: str | None = None) -> tuple[int, int]:
    """A session with a file, which has the name too; `base` is what it is a fork of."""
    session = h.core.open_session(tenant, share=True)
    file = await (h.core.create(session, None) if base is None else h.core.open(session, None, base))
    start = sum(path.encode()) % 200
    await h.pred(session, file, [(start + i) % 256 for i in range(tokens)])
    if path:
        await h.core.link(session, file, path)
    return session, file


def listed(operator: Operator, path: str) -> list[str]:
    return [f"{item.path}/" if item.kind == "directory" else item.path for item in operator.list(path)]


@run
async def test_listing_and_stat() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        assert listed(operator, "/") == []
        session, file = await made(h, "/notes/base", 40)
        await h.core.mkdir(session, "/empty")
        assert listed(operator, "/") == ["/empty/", "/notes/"]
        assert listed(operator, "/notes") == ["/notes/base"]
        assert listed(operator, "/notes/base") == ["/notes/base"]
        [shown] = operator.list("/notes")
        assert isinstance(shown, FileView)
        assert (shown.length, shown.pages, shown.tier, shown.mode) == (40, 3, "device", "rw-r-----")
        assert (shown.names, shown.sessions, shown.busy, shown.owner) == (["/notes/base"], [session], False, "a")
        stat = operator.stat("/notes/base")
        assert (stat.plain, stat.unique_pages, stat.shared_pages) == (40, 1, 2)  # full pages are cached too
        await h.core.close_file(session, file)
        assert operator.stat("/notes/base").file.sessions == []
        for path, error in (("/x", NotFound), ("x", Invalid), ("/..", Invalid), ("/a\0", Invalid), ("/" * 9, Invalid)):
            for look in (operator.show, operator.list, operator.stat, operator.forks, operator.space, operator.tokens):
                with pytest.raises(error):
                    look(path)
        with pytest.raises(Invalid, match="is a directory"):
            operator.stat("/notes")


@run
async def test_a_file_of_many_names_shows_some() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        session, file = await made(h, "/base", 5)
        for i in range(30):
            await h.core.link(session, file, f"/many/{i}")
        for shown in operator.list("/many"):
            assert isinstance(shown, FileView)
            assert (shown.links, len(shown.names)) == (31, MAX_SHOWN_NAMES)
            assert shown.path.startswith("/many/")


@run
async def test_tenants_see_their_own_files_and_the_shared_ones() -> None:
    async with Host() as h:
        operator, stranger = Operator(h.core, WHO), Operator(h.core, STRANGER)
        await made(h, "/secret", 20)
        session, file = await made(h, "/shared/known", 40)
        await h.core.link(session, file, "/mine")
        await h.core.set_mode(session, file, 0b010111)
        assert listed(stranger, "/") == ["/shared/"]
        assert listed(stranger, "/shared") == ["/shared/known"]
        [seen] = stranger.forks("/")
        assert (seen.file.names, seen.file.sessions) == (["/shared/known"], [])
        assert stranger.tokens("/shared/known") == operator.tokens("/mine")
        assert {name for fork in operator.forks("/") for name in fork.file.names} == {
            "/mine",
            "/secret",
            "/shared/known",
        }
        for call in (stranger.stat, stranger.tokens, stranger.remove, stranger.pin, stranger.unpin):
            with pytest.raises(NotFound):
                call("/secret")
        with pytest.raises(PermissionDenied):
            stranger.remove("/shared/known")
        with pytest.raises(PermissionDenied):
            stranger.pin("/shared/known")
        assert stranger.copy("/shared/known", "/taken").owner == "b"


@run
async def test_reading() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        session = h.core.open_session("a")
        file = await h.core.create(session, None)
        text = "grüße, 世界\n" * 500  # long enough for the thread
        await h.pred(session, file, [*text.encode(), 257])
        await h.core.link(session, file, "/text")
        assert await operator.text("/text") == text + "<|im_start|>"
        assert operator.tokens("/text") == [*text.encode(), 257]
        await h.core.set_mode(session, file, 0)
        with pytest.raises(PermissionDenied):
            await operator.text("/text")


@run
async def test_forks_are_a_tree() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        await made(h, "/base", 4 * PAGE)
        await made(h, "/far/branch", 2 * PAGE, base="/base")
        session, twig = await made(h, "", 3, base="/far/branch")
        other, loose = await made(h, "", 5)
        await made(h, "/alone", 6 * PAGE)
        found = operator.forks("/")
        shown = [(fork.file.path, fork.file.sessions[:1], fork.parent_path, fork.shared) for fork in found]
        assert ("/base", found[0].file.sessions[:1], "", 0) == shown[0]
        assert {row[0]: row[2:] for row in shown if row[0]} == {
            "/base": ("", 0),
            "/far/branch": ("/base", 4),
            "/alone": ("", 0),
        }
        assert [row for row in shown if not row[0]] == [("", [session], "/far/branch", 6), ("", [other], "", 0)]
        ids = {fork.id: fork for fork in found}
        assert all(fork.parent is None or ids[fork.parent].id < fork.id for fork in found)
        below = operator.forks("/far")
        assert [(fork.file.path, fork.parent_path) for fork in below] == [("/far/branch", "/base"), ("", "/far/branch")]
        # what is truncated to below a page shares nothing any more
        await h.core.truncate(session, twig, 3)
        await h.pred(session, twig, [1])
        assert operator.forks("/")[-2].shared == 0
        assert await h.core.length(other, loose) == 5


@run
async def test_a_fork_and_its_source_share_on_the_host_too() -> None:
    async with Host(pages=12, host_pages=32) as h:
        operator = Operator(h.core, WHO)
        session, file = await made(h, "/base", 4 * PAGE)
        fork = await h.core.fork(session, file)
        await h.core.save(session, fork, "/fork", overwrite=False)
        await h.core.close_file(session, fork)
        await h.core.advise(session, file, "dont-need")
        await h.core.close_file(session, file)
        [arena] = h.core._kvfs.arenas.values()
        arena.costs.token_seconds = 1e9  # however busy this machine is: moved rather than computed again
        other, big = await made(h, "/big", 10 * PAGE)  # takes the rest
        found = {fork.file.path: fork for fork in operator.forks("/")}
        assert found["/base"].file.tier == found["/fork"].file.tier == "host"
        assert (found["/fork"].parent_path, found["/fork"].shared) == ("/base", 4)
        [total] = [row for row in operator.space("/") if row.path == "/"]
        assert (total.host_pages, total.device_pages, total.table_pages) == (4, 10, 18)
        assert (await h.core.length(other, big)) == 10 * PAGE


@run
async def test_space_counts_each_page_once() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        await made(h, "/d/base", 4 * PAGE)
        await made(h, "/d/deep/branch", 1, base="/d/base")
        await made(h, "/e/branch", 2 * PAGE, base="/d/base")
        session, file = await made(h, "", 1, base="/e/branch")
        rows = {row.path: row for row in operator.space("/")}
        assert set(rows) == {"", "/", "/d", "/e"}
        d, e, total = rows["/d"], rows["/e"], rows["/"]
        assert (d.files, d.table_pages, d.device_pages, d.unique_pages, d.shared_pages) == (2, 9, 5, 1, 4)
        assert (e.device_pages, e.unique_pages, e.shared_pages) == (6, 0, 6)  # an open fork holds all of them too
        assert (total.files, total.device_pages, total.tokens) == (4, 8, 64 + 65 + 96 + 97)
        assert (total.unique_pages, total.shared_pages) == (8, 0)
        assert total.device_pages == h.core._kvfs.arenas["fake"].pool.used["a"]
        assert {row.path for row in operator.space("/d")} == {"/d", "/d/base", "/d/deep"}
        [one] = operator.space("/d/base")
        assert (one.path, one.device_pages, one.unique_pages) == ("/d/base", 4, 0)
        await h.core.link(session, file, "/d/base2")
        assert {row.path for row in operator.space("/")} == {"/", "/d", "/e"}


@run
async def test_a_look_at_too_much_is_refused() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("symphony.core.survey.MAX_SURVEY_PAGES", 10)
            await made(h, "/a/x", 4 * PAGE)
            await made(h, "/b/x", 7 * PAGE)
            for look in (operator.space, operator.forks):
                with pytest.raises(LimitExceeded, match="11 entries"):
                    look("/")
            assert operator.space("/a")[-1].device_pages == 4
            assert len(operator.list("/")) == 2
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("symphony.core.survey.MAX_SURVEY_FILES", 1)
            for look in (operator.space, operator.forks):
                with pytest.raises(LimitExceeded, match="2 files"):
                    look("/")
                look("/a")


@run
async def test_copy_move_remove() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        session, file = await made(h, "/a", 20)
        copied = operator.copy("/a", "/b/copy")
        assert (copied.path, copied.length, copied.owner) == ("/b/copy", 20, "a")
        with pytest.raises(Exists):
            operator.copy("/a", "/b/copy")
        await h.pred(session, file, [1, 2])
        assert operator.copy("/a", "/b/copy", overwrite=True).length == 22
        assert operator.copy("/a", "/a", overwrite=True).length == 22
        assert operator.move("/b", "/c").path == "/c"
        assert listed(operator, "/") == ["/a", "/c/"]
        with pytest.raises(Exists):
            operator.move("/a", "/c/copy")
        with pytest.raises(Invalid, match="not empty"):
            operator.remove("/c")
        operator.remove("/c/copy")
        operator.remove("/a")
        assert listed(operator, "/") == []
        assert await h.core.length(session, file) == 22  # who has it open keeps it
        with pytest.raises(NotFound):
            operator.remove("/a")


@run
async def test_a_busy_file_can_be_read_but_not_copied() -> None:
    async with Host() as h:
        operator = Operator(h.core, WHO)
        session, file = await made(h, "/a", 20)
        op = await h.start(session, file, [1], max_tokens=4, chunk_tokens=1)
        with pytest.raises(Busy):
            operator.copy("/a", "/b")
        assert len(operator.tokens("/a")) == 20
        assert operator.stat("/a").file.busy
        await h.drain(session, op)


@run
async def test_a_pin_outlives_its_session_and_goes_with_the_file() -> None:
    async with Host(pages=12, host_pages=32) as h:
        operator = Operator(h.core, WHO)
        session, file = await made(h, "/kept", 4 * PAGE)
        assert operator.pin("/kept").held
        assert operator.pin("/kept").pins == 1
        await h.core.pin(session, file)
        assert operator.stat("/kept").file.pins == 2
        await h.core.close_session(session)
        assert operator.stat("/kept").file.pins == 1
        other, _ = await made(h, "/big", 7 * PAGE)
        await h.core.close_session(other)
        await made(h, "/more", 6 * PAGE)
        assert operator.stat("/kept").file.tier == "device"
        assert operator.stat("/big").file.tier == "host"
        with pytest.raises(LimitExceeded, match="pinned"):
            operator.pin("/more")
        assert not operator.unpin("/kept").held
        assert operator.unpin("/kept").pins == 0
        operator.pin("/kept")
        reader = h.core.open_session("a")
        await h.core.open(reader, None, "/kept", write=True)
        operator.remove("/kept")
        assert not h.core._kvfs.pinned  # although somebody has it open
        small, _ = await made(h, "/kept", 3)
        await h.core.close_session(small)
        operator.pin("/kept")
        operator.remove("/kept")
        assert not h.core._kvfs.pinned
        with pytest.raises(NotFound):
            operator.unpin("/kept")
        h.core.check_integrity()


@run
async def test_a_pin_brings_the_file_back() -> None:
    async with Host(pages=12, host_pages=32) as h:
        operator = Operator(h.core, WHO)
        session, file = await made(h, "/a", 4 * PAGE)
        await h.core.advise(session, file, "dont-need")
        await h.core.close_session(session)
        other, _ = await made(h, "/b", 9 * PAGE)
        await h.core.close_session(other)
        assert operator.stat("/a").file.tier == "host"
        operator.remove("/b")
        operator.pin("/a")
        operator.unpin("/a")
        third = h.core.open_session("a")
        opened = await h.core.open(third, None, "/a")
        expected = h.engine.greedy([*operator.tokens("/a"), 3])
        [reading] = await h.pred(third, opened, [3])
        assert reading.sampled == expected
        assert operator.stat("/a").file.tier == "device"
