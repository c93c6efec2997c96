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

from symphony.cli import serve as serve_module
from symphony.cli.configured import host_config, requests_pace
from symphony.cli.remote import Remote
from symphony.http.server import bind
from symphony.settings.reader import read, settings_of
from symphony.settings.sections import Settings

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


DRAINED = "draining: what was accepted has 0.5 s to end\n2 requests and processes have not ended\n"


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, ""), (signal.SIGTERM, DRAINED)])
def test_serve_reports_runs_and_ends_cleanly(number: signal.Signals, said: str) -> None:
    fakes = str(Path(__file__).parents[1] / "http")
    words = [sys.executable, "-W", "error", "-c", SCRIPT.format(fakes=fakes), "serve", "--port", "0"]
    words += ["--drain-seconds", "0.5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stderr is not None
            first = child.stdout.readline()
            assert first.startswith("serving programs on http://127.0.0.1:"), first + child.stderr.read()
            report = [child.stdout.readline() for _ in range(8)]
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
            assert child.stderr.read() == f"{said}stopping\n"
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
        "[models]\npages = 100\nhost-pages = 200\n[server]\nleast-nice = -5\ndebug = true\nport = 7000\n"
        "[limits]\nprocesses = 7\n[[grants]]\ntenants = ['acme']\nfetch = ['https://example.com']\n"
    )
    words = ["serve", "--config", "host.toml", "--pages", "300"]
    result = terminal(*words, env={"SYMPHONY_HOST_PAGES": "400", "SYMPHONY_MODEL": "other"})
    assert result.exit_code == 0, result.output
    config = seen["config"]
    assert (config.pages, config.host_pages, config.least_nice, config.core.debug) == (300, 400, -5, True)
    assert (config.admission.live, config.outside.grants[0].fetch) == (7, ("https://example.com",))
    assert (seen["port"], seen["model"]) == (7000, ("other",))
    assert terminal("serve", env={"SYMPHONY_MODEL": "tiny:small=a model"}).exit_code == 0
    assert seen["model"] == ("tiny", "small=a model")
    (terminal.directory / "host.toml").write_text('[models]\nmodel = ["tiny", "draft=other"]')
    assert terminal("serve", "--config", "host.toml").exit_code == 0
    assert seen["model"] == ("tiny", "draft=other")
    (terminal.directory / "host.toml").write_text('[models]\nmodel = "one"')
    assert terminal("serve", "--config", "host.toml").exit_code == 0
    assert seen["model"] == ("one",)
    assert terminal("serve", "--model", "a", "--model", "b").exit_code == 0
    assert seen["model"] == ("a", "b")
    assert terminal("serve").exit_code == 0
    config = seen["config"]
    assert (config.pages, config.host_pages, config.core.debug, seen["port"]) == (None, None, False, 8080)


def test_what_is_said_of_tenants(tmp_path: Path) -> None:
    (tmp_path / "host.toml").write_text(
        "[limits]\nprocesses-per-tenant = 9\ntokens-per-second = 50\nrequests-per-second = 5\nprogram-bytes = 1000\n"
        "[tenants.acme]\nweight = 2\nprocesses = 3\nwaiting = 4\npage-share = 0.25\nslot-share = 0.5\n"
        "disk-share = 0.1\ntokens-per-second = 7.5\nrequests-per-second = 1\nprogram-bytes = 10\n"
        "share = true\n[tenants.beta]\n"
    )
    settings = read(Settings, tmp_path / "host.toml", {})
    config, core = host_config(settings), host_config(settings).core
    assert (config.admission.live_per_tenant, config.admission.live_of, config.admission.waiting_of) == (
        9,
        {"acme": 3},
        {"acme": 4},
    )
    assert (core.tenant_weights, core.tenant_page_shares) == ({"acme": 2.0, "beta": 1.0}, {"acme": 0.25})
    assert (core.tenant_slot_shares, core.tenant_tokens, core.tenants_tokens) == ({"acme": 0.5}, 50.0, {"acme": 7.5})
    assert (core.disk.tenant_share, core.disk.tenant_shares) == (0.5, {"acme": 0.1})
    assert (config.program_bytes, config.programs_bytes, config.sharers) == (1000, {"acme": 10}, {"acme"})
    pace = requests_pace(settings)
    for name, wait in (("acme", 9.0), ("beta", 1.0)):
        pace.take(name, 10.0, 0.0)
        assert pace.wait(name, 0.0) == pytest.approx(wait), "one second's worth was saved up"


def test_the_report_says_whether_keys_are_needed() -> None:
    report = serve_module._report("http://here", {"device": "cpu"}, True)
    assert "keys    every request needs one" in report
    assert report.endswith('try: curl -H "Authorization: Bearer $SYMPHONY_KEY" --data-binary @my.py http://here/v1/run')
    assert "Bearer" not in serve_module._report("http://here", {"device": "cpu"}, False)


def test_wrong_settings(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    """The reader's own tests have all of them; here: that they are read before anything is booted."""
    file = terminal.directory / "host.toml"
    for text, message in (
        ("[server]\nprot = 8080", "no setting 'prot'. Did you mean port?"),
        ("port = ", "is not TOML"),
    ):
        file.write_text(text)
        result = terminal("serve", "--config", str(file))
        assert result.exit_code == 2, result.output
        assert message in result.stderr
        assert "fix:" in result.stderr
    missing = terminal("serve", env={"SYMPHONY_CONFIG": "no.toml"})
    assert missing.exit_code == 2
    assert "no configuration file no.toml" in missing.stderr
    refused = terminal("serve", "--pages", "1")
    assert (refused.exit_code, "--pages is '1': expected a whole number >= 2" in refused.stderr) == (2, True)
    assert runtimes == []


def test_each_setting_is_an_option(terminal: Terminal) -> None:
    text = terminal("serve", "--help").output
    assert all(setting.flag in text for setting in settings_of(Settings))
    assert all(setting.says.endswith((".", ").")) for setting in settings_of(Settings)), "each says what it is"
