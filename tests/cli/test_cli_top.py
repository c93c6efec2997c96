"""`symphony ps` and `symphony top`: what they show of many processes, in little space, and of none."""

from __future__ import annotations

import json
import os
import pty
import struct
import sys
import termios
from fcntl import ioctl
from typing import Any

from commands_fixture import Terminal
from fake_runtime import FakeRuntime
from live_server import Server

from symphony.cli.processes import age
from symphony.cli.remote import Remote
from symphony.cli.terminal import cells, cut, table
from symphony.cli.top import _Rates, frame


def process(pid: int, **fields: Any) -> dict[str, Any]:
    usage = {"prompt_tokens": 10, "generated_tokens": pid, "cpu_us": 1500, "wall_us": 61_000_000}
    plain = {
        "program": "agent",
        "state": "swapped",
        "nice": 0,
        "waits_for": ["tool"],
        "pages": {"device": 0, "host": 12},
    }
    return {"pid": pid, "usage": usage, **plain, **fields}


def status(**fields: Any) -> dict[str, Any]:
    tier = {"capacity": 100, "free": 50, "cached": 20, "used": 30, "tenants": {"local": 30}}
    numbers = ("steps", "rows", "tokens", "tokens_per_second", "moved_out", "moved_back", "moving", "dropped_tokens")
    more = ("preemptions", "active", "starved", "parked")
    model = {"model": "tiny", "device": "cpu", "pages": tier, "slots": tier, **dict.fromkeys((*numbers, *more), 1234)}
    return {"models": [{**model, **fields}], "processes": {"live": 3, "states": {"swapped": 2, "running": 1}}}


def test_ps_and_top_of_a_server(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    url = ["--url", server.url]
    assert (
        " ".join(terminal("ps", *url).stdout.split()) == "PID PROGRAM STATE NI WAITS FOR DEVICE HOST TOKENS CPU-S AGE"
    )
    pid = Remote(server.url).call("POST", "/v1/run", {"detach": "1", "nice": "7"}, b"wait")["pid"]
    server.runtime.process(pid).session = server.call(server.runtime.write("/f", "x" * 40))
    row = [str(pid), "wait", "running", "7", "tool", "3", "0", "39", "0.00", "0s"]
    assert terminal("ps", *url).stdout.splitlines()[1].split() == row
    assert json.loads(terminal("ps", "--json", *url).stdout)["processes"][0]["pages"] == {"device": 3, "host": 0}
    shown = terminal("top", *url).stdout.splitlines()  # no terminal: once
    assert shown[0] == "1 process: 1 running"
    assert shown[1].startswith("fake on none: ")
    assert "3 used, 0 cached, 252 free" in shown[3]
    assert "0 used, 64 free" in shown[4]
    assert shown[-1].split() == [*row[:8], "-", *row[8:]]
    assert terminal("top", "--once", *url).stdout.splitlines()[-1] == shown[-1]
    assert json.loads(terminal("top", "--json", *url).stdout)["list"][0]["pid"] == pid


def test_no_host(terminal: Terminal) -> None:
    for words in (["ps"], ["top"], ["top", "--once"], ["top", "--json"]):
        result = terminal(*words, "--url", "http://127.0.0.1:9")
        assert result.exit_code == 1
        assert "fix: start a server (symphony serve)" in result.stderr


def test_a_frame_fits_into_eighty_columns() -> None:
    processes = [process(pid, program="a-program-with-a-long-name" * 3) for pid in range(1, 2000)]
    lines = frame(status(), processes, {}, 80)
    assert max(map(cells, lines)) <= 80
    assert len([line for line in lines if "…" in line]) == 1999
    assert "██████████▒▒▒▒▒▒················ 30 used, 20 cached, 50 free" in "\n".join(lines)
    assert max(map(cells, frame(status(), [process(1, program="世界" * 40)], {}, 80))) <= 80


def test_the_busiest_come_first_and_ended_ones_not_at_all() -> None:
    processes = [
        process(1, pages={"device": 1, "host": 0}),
        process(2, pages={"device": 50, "host": 9}),
        process(3),
        process(4, state="done"),
        process(5, state="killed"),
    ]
    lines = frame(status(), processes, {3: 12.4, 1: 0.0}, 120)
    assert [line.split()[0] for line in lines[lines.index("") + 2 :]] == ["3", "2", "1"]
    assert lines[-3].split()[8] == "12"


def test_tenants_are_told_apart_and_a_missing_tier_is_missing() -> None:
    tier = {"capacity": 0, "free": 0, "cached": 0, "used": 0, "tenants": {}}
    pages = {"capacity": 9, "free": 1, "cached": 1, "used": 7, "tenants": {"a": 3, "b": 4}}
    lines = frame(status(slots=tier, pages=pages), [], {}, 80)
    assert "  device pages by tenant: b 4, a 3" in lines
    assert not [line for line in lines if line.startswith("  host")]


def test_rates() -> None:
    rates = _Rates()
    assert rates.update([process(1), process(2)], 10.0) == {}
    later = [process(1, usage={"prompt_tokens": 20, "generated_tokens": 5}), process(3)]
    assert rates.update(later, 12.0) == {1: 7.0}


def test_the_terminal_shows_it_in_place_until_q(server: Server[FakeRuntime]) -> None:
    Remote(server.url).call("POST", "/v1/run", {"detach": "1"}, b"wait")
    child, terminal = pty.fork()
    if not child:
        script = "from symphony.cli.main import main; main()"
        os.execv(sys.executable, [sys.executable, "-c", script, "top", "--interval", "0.1", "--url", server.url])
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    while shown.count(b"1 process: 1 running") < 2:  # the second look, in place of the first
        shown += os.read(terminal, 65536)
    os.write(terminal, b"xq")
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # how a pseudo terminal says that its other end is gone
        pass
    _, ended = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(ended) == 0
    assert b"\x1b[?1049h" in shown
    assert shown.rstrip().endswith(b"\x1b[?1049l")


def test_tables() -> None:
    text = table(("A", "NUMBER", "C"), [("x", "1,234", "世界"), ("long name", "-", "")])
    assert text.splitlines() == ["A          NUMBER  C", "x           1,234  世界", "long name       -"]
    assert table(("A", "B"), []) == "A  B"
    narrow = table(("NAME", "N"), [("abcdefghij", "1")], width=9, give="NAME")
    assert narrow.splitlines() == ["NAME    N", "abcde…  1"]
    assert table(("NAME", "N"), [("abc", "1")], width=2, give="NAME").splitlines()[0] == "NAME  N"
    assert cut("世界世界", 5) == "世界…"


def test_ages() -> None:
    assert [age(seconds) for seconds in (0.4, 59, 90, 7200, 200_000)] == ["0s", "59s", "2m", "2h", "2d"]
