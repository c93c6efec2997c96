"""The interpreter component when several hosts start for the first time at once. The build itself is a stand-in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HOST = """
import sys, time
from pathlib import Path
from symphony.program import interpreter

cache, seconds = Path(sys.argv[1]), float(sys.argv[2])

def build(kit, target):
    with (cache / "builds").open("a") as log:
        log.write("x")
    time.sleep(seconds)
    target.write_bytes(b"component")

interpreter._build = build
cache.mkdir(exist_ok=True)
(cache / f"ready-{sys.argv[3]}").touch()
while len(list(cache.glob("ready-*"))) < int(sys.argv[4]):
    time.sleep(0.001)
made = interpreter.ensure(cache)
assert made.read_bytes() == b"component"
print(made.name)
"""


def host(cache: Path, seconds: float, name: int, together: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", HOST, str(cache), str(seconds), str(name), str(together)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_two_hosts_that_start_at_once_build_once(tmp_path: Path) -> None:
    hosts = [host(tmp_path, 0.3, name, 2) for name in range(2)]
    said = [process.communicate(timeout=60)[0] for process in hosts]
    assert [process.returncode for process in hosts] == [0, 0]
    assert said[0] == said[1] != ""
    assert (tmp_path / "builds").read_text() == "x"


def test_a_host_that_is_killed_while_it_builds_blocks_nobody(tmp_path: Path) -> None:
    dying = host(tmp_path, 1000, 0, 1)
    while not (tmp_path / "builds").exists():
        assert dying.poll() is None
        time.sleep(0.005)
    os.kill(dying.pid, signal.SIGKILL)
    dying.communicate()
    other = host(tmp_path, 0, 1, 1)
    assert other.communicate(timeout=60)[0]
    assert other.returncode == 0
    assert (tmp_path / "builds").read_text() == "xx"
