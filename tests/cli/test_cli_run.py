"""`symphony run`: what goes to stdout and stderr, exit statuses, wrong words; here and on a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands_fixture import Terminal
from fake_runtime import FakeRuntime
from live_server import Server

from symphony.cli import target
from symphony.cli import terminal as terminal_module
from symphony.cli.terminal import cost_card, visible
from symphony.process.process import State

CARD = "3 forwards, 39 tokens (10 prompt, 29 generated), 4 KV reused, 0.42 s"


def test_output_log_result_and_card(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    result = terminal("run", terminal.write("my.py", "echo"), "prompt=a b", "n=2")
    assert result.exit_code == 0
    assert result.stdout == 'a b \n{"prompt": "a b", "n": 2}\n'
    assert result.stderr == f"info: echoed\ntwo lines\n{CARD}\n"
    [runtime] = runtimes
    program, args, options = runtime.launched[0]
    assert (program, args, options.tenant) == (terminal.directory / "my.py", {"prompt": "a b", "n": 2}, "local")


def test_a_result_that_was_streamed_is_not_repeated(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    assert terminal("run", terminal.write("my.py", "complete")).stdout == "Once upon a time\n"


@pytest.mark.parametrize(
    ("events", "stdout"),
    [
        ([("result", "plain text")], "plain text\n"),
        ([("result", {"a": "é"})], '{"a": "é"}\n'),
        ([("result", None)], ""),
        ([("result", 3)], "3\n"),
        ([("result", "")], ""),
        ([("output", "42"), ("result", 42)], "42\n"),
        ([("output", "text\n"), ("result", "text")], "text\n"),
        ([("output", "te"), ("output", ""), ("result", "text")], "te\ntext\n"),
        ([("output", "text"), ("result", None)], "text\n"),
        ([("output", ""), ("result", "x")], "x\n"),
    ],
)
def test_what_is_printed(events: list[tuple[str, object]], stdout: str, capsys: pytest.CaptureFixture[str]) -> None:
    printer = terminal_module.RunPrinter()
    for kind, value in events:
        printer.show(kind, {"text": value} if kind == "output" else {"value": value})
    assert capsys.readouterr().out == stdout
    assert printer.status == 0


def test_a_failing_program(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    result = terminal("run", terminal.write("my.py", "fail"))
    assert result.exit_code == 1
    assert result.stdout == "before\n"
    assert result.stderr == (
        f"Traceback\n  line 3\nValueError: no\nerror: ValueError: no\n  fix: look at line 3\n{CARD}\n"
    )


def test_timeout_and_options_reach_the_runtime(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    words = ["--timeout", "0.05", "--device", "cpu", "--attention", "torch"]
    result = terminal("run", terminal.write("my.py", "wait"), *words)
    assert result.exit_code == 1
    assert "error: the program ran longer than 0.05 s" in result.stderr
    assert runtimes[0].options == {"device": "cpu", "attention": "torch", "tools": None}
    for bad in (["--timeout", "0"], ["--timeout", "soon"], ["--attention", "magic"]):
        assert terminal("run", "my.py", *bad).exit_code == 2


@pytest.mark.parametrize(("words", "nice"), [([], 0), (["--nice", "7"], 7), (["--nice", "-3"], -3)])
def test_nice_here(words: list[str], nice: int, terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    assert terminal("run", terminal.write("my.py", "echo"), *words).exit_code == 0
    assert runtimes[0].launched[0][2].nice == nice
    for bad in ("20", "-21", "1.5"):
        assert terminal("run", "my.py", "--nice", bad).exit_code == 2


def test_nice_on_a_server(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    program = terminal.write("my.py", "echo")
    assert terminal("run", program, "--url", server.url, "--nice", "7").exit_code == 0
    assert server.runtime.launched[0][2].nice == 7
    refused = terminal("run", program, "--url", server.url, "--nice", "-3")
    assert refused.exit_code == 1
    assert "nice=-3 is less than 0" in refused.stderr


def test_an_unknown_model_is_a_usage_error(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    result = terminal("run", terminal.write("my.py", "echo"), "--model", "gpt")
    assert (result.exit_code, result.stderr) == (2, "error: there is no model 'gpt'\n  fix: use tiny\n")


def test_what_is_no_program(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    terminal.write("agent.py", "echo")
    Path("plain.py").write_text("print('hello')")
    Path("notes.txt").write_text("x")
    Path("lib.rs").write_text("")
    Path("binary.py").write_bytes(b"\xff\xfe")
    Path("folder").mkdir()
    Path("folder/inside.py").write_text("")
    cases = [
        (["agnt.py"], "there is no file agnt.py. Did you mean agent.py?", "check the path"),
        (["no/such/file.wasm"], "there is no file no/such/file.wasm", "check the path"),
        (["folder"], "folder is a directory", "folder/inside.py"),
        (["./folder"], "folder is a directory", "folder/inside.py"),
        (["./lib.rs"], "lib.rs is neither a .py nor a .wasm", "symphony build FOLDER -o app.wasm"),
        (["./notes.txt"], "notes.txt is neither a .py nor a .wasm", "Python source or a Wasm component"),
        (["plain.py"], "plain.py has no entry point", "@main"),
        (["binary.py"], "binary.py is not UTF-8", "UTF-8"),
        (["agent.py", "prmpt=x"], "no parameter 'prmpt'. Did you mean prompt?", "prompt, n"),
        (["agent.py", "n=x"], "n=x is not JSON", "n: str"),
        (["agent.py", "hello"], "'hello' is not an argument", 'prompt="hello"'),
        (["agent.py", "--json", "{"], "--json is not JSON", "--json '"),
    ]
    for words, message, fix in cases:
        result = terminal("run", *words)
        assert result.exit_code == 2, words
        assert message in result.stderr, words
        assert fix in result.stderr.split("fix:")[1], words
        assert "Traceback" not in result.stderr
    assert runtimes == [], "nothing is booted for a wrong word"


def test_names_are_samples_then_uploaded_programs(
    terminal: Terminal, runtimes: list[FakeRuntime], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = terminal.directory / "samples"
    (samples / "story").mkdir(parents=True)
    terminal.write("samples/story/story.py", "complete")
    Path("samples/story/tools.py").write_text("def weather(city: str) -> str:\n    return city\n")
    monkeypatch.setattr(target, "samples_directory", lambda: samples)
    assert terminal("run", "story").stdout == "Once upon a time\n"
    assert list(runtimes[0].options["tools"]) == ["weather"]
    result = terminal("run", "stori")
    assert result.exit_code == 2
    assert "no program is called 'stori'. Did you mean story?" in result.stderr
    assert "samples: story; uploaded: none" in result.stderr


def test_the_samples_of_the_repository_are_found() -> None:
    assert "completion" in target.sample_names()
    for name in target.sample_names():
        assert target.resolve(name).signature is not None


def test_tools(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    program = terminal.write("my.py", "echo")
    Path("helper.py").write_text("LIMIT = 3\n")
    Path("mine.py").write_text(
        "import helper\nfrom json import dumps\ndef add(a: int, b: int) -> int:\n    return a + b\n"
        "async def later() -> None: ...\ndef _hidden(): ...\nclass NoTool: ...\n"
    )
    assert terminal("run", program, "--tools", "mine.py").exit_code == 0
    assert list(runtimes[0].options["tools"]) == ["add", "later"]
    assert runtimes[0].options["tools"]["add"](1, 2) == 3
    Path("broken.py").write_text("1 / 0\n")
    Path("empty.py").write_text("x = 1\n")
    for file, message in (
        ("absent.py", "no tools file"),
        ("broken.py", "ZeroDivisionError"),
        ("empty.py", "no public function"),
    ):
        result = terminal("run", program, "--tools", file)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "fix:" in result.stderr


def test_control_characters_do_not_reach_a_terminal() -> None:
    class Screen:
        def __init__(self, tty: bool) -> None:
            self.isatty = lambda: tty

    text = "a\x1b]52;c;x\x07\tb\r\nc\rd\u202e\n\x9b2J"
    assert visible(text, Screen(False)) == text  # type: ignore[arg-type]
    shown = visible(text, Screen(True))  # type: ignore[arg-type]
    assert shown == "a\\x1b]52;c;x\\x07\tb\nc\\x0dd\\x202e\n\\x9b2J"


def test_cost_card() -> None:
    usage = {"forwards": 2, "prompt_tokens": 5, "generated_tokens": 1, "reused_tokens": 0, "wall_us": 1_500_000}
    assert cost_card(usage) == "2 forwards, 6 tokens (5 prompt, 1 generated), 0 KV reused, 1.50 s"


# --- on a server
def test_a_file_runs_on_a_server(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    result = terminal("run", terminal.write("my.py", "echo"), "prompt=é b", "n=2", "--url", server.url)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == 'é b \n{"prompt": "é b", "n": 2}\n'
    assert result.stderr == f"info: echoed\ntwo lines\n{CARD}\n"
    assert isinstance(server.runtime.launched[0][0], bytes)


def test_long_arguments_travel_in_a_body(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    long = "x" * 50_000
    result = terminal("run", terminal.write("my.py", "echo"), f"prompt={long}", "--url", server.url, "--timeout", "9")
    assert result.exit_code == 0, result.stderr
    assert server.runtime.launched[0][1] == {"prompt": long}
    assert server.runtime.launched[0][2].wall_seconds == 9


def test_an_uploaded_program_runs_by_name(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    assert terminal("programs", "add", terminal.write("my.py", "echo"), "--url", server.url).exit_code == 0
    result = terminal("run", "my", "prompt=3", "n=4", "--url", server.url)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout.splitlines()[-1]) == {"prompt": "3", "n": 4}
    missing = terminal("run", "mi", "--url", server.url)
    assert missing.exit_code == 2
    assert "uploaded: my" in missing.stderr


def test_failures_of_a_server(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    failed = terminal("run", terminal.write("my.py", "fail"), "--url", server.url)
    assert failed.exit_code == 1
    assert "Traceback\n  line 3" in failed.stderr
    assert "error: ValueError: no" in failed.stderr
    refused = terminal("run", terminal.write("bad.py", "nonsense"), "--url", server.url)
    assert refused.exit_code == 2
    assert "not a LIP" in refused.stderr
    timeout = terminal("run", terminal.write("slow.py", "wait"), "--url", server.url, "--timeout", "0.05")
    assert timeout.exit_code == 1
    assert "longer than 0.05 s" in timeout.stderr


@pytest.mark.parametrize(
    ("url", "status"), [("http://127.0.0.1:1", 1), ("ftp://x", 2), ("http://", 2), ("http://127.0.0.1:http", 2)]
)
def test_no_server(terminal: Terminal, url: str, status: int) -> None:
    result = terminal("run", terminal.write("my.py", "echo"), "--url", url)
    assert result.exit_code == status
    assert "error: " in result.stderr
    assert "http://127.0.0.1:8080" in result.stderr.split("fix:")[1]


def test_local_options_do_not_go_with_a_url(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    for option in ("--model", "--device", "--tools"):
        result = terminal("run", terminal.write("my.py", "echo"), option, "x", "--url", server.url)
        assert result.exit_code == 2
        assert f"{option} does not go with --url" in result.stderr


def test_interrupting_a_remote_run_cancels_it(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    words = [sys.executable, "-m", "symphony.cli.main", "run", terminal.write("my.py", "wait"), "--url", server.url]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.read(7) == "started"
        child.send_signal(signal.SIGINT)
        assert child.wait(30) == 130
    end = time.monotonic() + 30
    while server.runtime.process(1).state is not State.KILLED:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_closed_pipe_ends_the_run(terminal: Terminal, server: Server[FakeRuntime]) -> None:
    words = [sys.executable, "-m", "symphony.cli.main", "run", terminal.write("my.py", "flood"), "--url", server.url]
    read, write = os.pipe()
    with subprocess.Popen(words, stdout=write, stderr=subprocess.PIPE, text=True) as child:
        os.close(write)
        os.read(read, 10)
        os.close(read)
        assert child.wait(30) == 1
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()


def test_what_it_may_reach(terminal: Terminal, runtimes: list[FakeRuntime]) -> None:
    program = terminal.write("my.py", "echo")
    config = terminal.directory / "host.toml"
    config.write_text('[server]\nport = 1\n[endpoints.search]\nurl = "http://a"\n[[grants]]\ntools = ["search"]\n')
    words = ("prompt=a", "n=1", "--fetch", "https://a.example", "--fetch", "*.b.example")
    assert terminal("run", program, *words).exit_code == 0
    assert terminal("run", program, *words, "--config", str(config)).exit_code == 0
    assert terminal("run", program, "prompt=a", "n=1").exit_code == 0
    plain, configured = (runtime.options["config"].outside for runtime in runtimes[:2])
    assert [(grant.tools, grant.fetch) for grant in plain.grants] == [
        (("*",), ()),
        ((), ("https://a.example", "*.b.example")),
    ]
    assert [grant.tools for grant in configured.grants] == [("search",), ()]
    assert configured.endpoints["search"].url == "http://a"
    assert "config" not in runtimes[2].options


@pytest.mark.parametrize("option", ["--fetch", "--config"])
def test_what_it_may_reach_elsewhere_is_decided_there(option: str, terminal: Terminal) -> None:
    result = terminal(
        "run", terminal.write("my.py", "echo"), "prompt=a", "n=1", "--url", "http://127.0.0.1:9", option, "x"
    )
    assert result.exit_code == 2
    assert f"{option} does not go with --url" in result.stderr
