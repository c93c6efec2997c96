"""`symphony serve`: what is refused before a model is loaded, the boot report, the end on a signal."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime

from symphony.cli.remote import Remote
from symphony.http.server import bind

SCRIPT = """
import sys
sys.path.insert(0, {fakes!r})
import symphony.host
from fake_runtime import FakeRuntime
symphony.host.Runtime = FakeRuntime
from symphony.cli.main import main
main()
"""


def test_other_hosts_are_refused(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    for host in ("0.0.0.0", "::", "example.com"):
        result = terminal("serve", "--host", host)
        assert result.exit_code == 2
        assert "without keys" in result.stderr
        assert "--host 127.0.0.1" in result.stderr
    assert runtimes == []


def test_a_taken_port(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        result = terminal("serve", "--port", str(port))
    assert result.exit_code == 1
    assert f"port {port} of 127.0.0.1 is in use" in result.stderr
    assert "fix:" in result.stderr
    assert runtimes == []
    assert terminal("serve", "--port", "70000").exit_code == 2


def test_an_unknown_model(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    result = terminal("serve", "--port", "0", "--model", "gpt")
    assert result.exit_code == 2
    assert "no model 'gpt'" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_reports_runs_and_ends_cleanly(number: signal.Signals) -> None:
    fakes = str(Path(__file__).parents[1] / "http")
    words = [sys.executable, "-W", "error", "-c", SCRIPT.format(fakes=fakes), "serve", "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stderr is not None
            first = child.stdout.readline()
            assert first.startswith("serving programs on http://127.0.0.1:"), first + child.stderr.read()
            report = [child.stdout.readline() for _ in range(7)]
            assert any(line.split() == ["device", "cpu"] for line in report)
            assert report[-1].strip().startswith("try: curl")
            server = Remote(first.split()[-1])
            assert server.call("GET", "/readyz") == {"status": "ready"}
            events = server.events("POST", "/v1/run", body=b"wait")
            assert next(events)[0] == "start"
            child.send_signal(number)
            kind, data = list(events)[-1]
            assert (kind, data["code"]) == ("error", "cancelled")
            assert child.wait(30) == 0
            assert child.stderr.read() == "stopping\n"
        finally:
            child.kill()  # a failed test does not wait for its server


def test_settings_come_from_options_the_environment_and_a_file(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    async def serve(host: str, port: int, model: str, **options: Any) -> None:
        seen.update(options, port=port, model=model)

    monkeypatch.setattr("symphony.cli.serve.serve_until_signal", serve)
    (terminal.directory / "host.toml").write_text(
        "pages = 100\nhost-pages = 200\nleast-nice = -5\ndebug = true\nport = 7000\n"
    )
    words = ["serve", "--config", "host.toml", "--pages", "300"]
    result = terminal(*words, env={"SYMPHONY_HOST_PAGES": "400", "SYMPHONY_MODEL": "other"})
    assert result.exit_code == 0, result.output
    config = seen["config"]
    assert (config.pages, config.host_pages, config.least_nice, config.core.debug) == (300, 400, -5, True)
    assert (seen["port"], seen["model"]) == (7000, ("other",))
    assert terminal("serve", env={"SYMPHONY_MODEL": "tiny:small=a model"}).exit_code == 0
    assert seen["model"] == ("tiny", "small=a model")
    (terminal.directory / "host.toml").write_text('model = ["tiny", "draft=other"]')
    assert terminal("serve", "--config", "host.toml").exit_code == 0
    assert seen["model"] == ("tiny", "draft=other")
    (terminal.directory / "host.toml").write_text('model = "one"')
    assert terminal("serve", "--config", "host.toml").exit_code == 0
    assert seen["model"] == ("one",)
    assert terminal("serve", "--model", "a", "--model", "b").exit_code == 0
    assert seen["model"] == ("a", "b")
    assert terminal("serve").exit_code == 0
    config = seen["config"]
    assert (config.pages, config.host_pages, config.core.debug, seen["port"]) == (None, None, False, 8080)


def test_wrong_settings(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    file = terminal.directory / "host.toml"
    for text, message in (
        ("prot = 8080", "no setting 'prot'. Did you mean port?"),
        ("port = [1]", "port is not a single value"),
        ("port = ", "is not TOML"),
        ('port = "high"', "not a valid integer"),
        ("pages = 1", "not in the range"),
        ("host-pages = -1", "not in the range"),
        ("least-nice = 20", "not in the range"),
    ):
        file.write_text(text)
        result = terminal("serve", "--config", str(file))
        assert result.exit_code == 2, result.output
        assert message in result.stderr
    missing = terminal("serve", "--config", "no.toml")
    assert missing.exit_code == 2
    assert "no configuration file no.toml" in missing.stderr
    assert runtimes == []
