"""The program in Rust (`samples/openai/rust`) passes the tests of the one that ships; here, the cheaper ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from live_server import Server
from test_http_openai import (  # noqa: F401
    check_refusal,
    clean,
    client,
    test_a_conversation_with_a_system_message_and_content_in_parts,
    test_a_prompt_that_is_too_long,
    test_a_schema_that_cannot_be,
    test_a_tool_call_and_its_answer,
    test_a_tool_call_in_a_stream,
    test_an_unknown_model,
    test_characters_of_several_tokens,
    test_chat,
    test_choices_of_a_stream_are_told_apart,
    test_completions,
    test_completions_of_several_prompts,
    test_completions_of_tokens,
    test_completions_with_logprobs,
    test_logprobs,
    test_logprobs_of_a_stream_stand_beside_their_text,
    test_no_parallel_calls,
    test_parse,
    test_stop_strings_split_over_tokens,
    test_tool_choice,
    test_tools_that_are_not_needed,
    test_usage_of_a_stream,
)

from symphony.host import Config, Runtime
from tools.build_rust import HINT, build, toolchain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server[Runtime]]:
    if toolchain() is None:
        pytest.skip(HINT)
    program = build(ROOT / "samples/openai/rust", tmp_path_factory.mktemp("rust") / "openai.wasm")
    config = Config(pages=600, host_pages=64, openai=program)
    with Server(Runtime("tiny", device="cpu", home=tmp_path_factory.mktemp("home"), config=config)) as server:
        yield server


@pytest.mark.parametrize(
    ("param", "options"),
    [
        ("temperature", {"temperature": "hot"}),
        ("n", {"n": True}),
        ("logit_bias", {"logit_bias": {"x": 1}}),
        ("messages[0].content[0].type", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        ("tool_choice", {"tool_choice": "required"}),
        ("colour", {"extra_body": {"colour": "red"}}),
    ],
)
def test_bad_requests(client: openai.OpenAI, param: str, options: dict[str, Any]) -> None:  # noqa: F811
    check_refusal(client, param, options)
