"""lookup, draft: the same tokens as a plain run, in fewer steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Stage


def test_lookup_finds_addresses_in_the_prompt(tiny: Stage) -> None:
    run = tiny.run("lookup")
    assert run.result["text"] == "nora.brandt@example.com, support@example.org, ben.okafor@mail.net"
    assert run.result["same"]
    plain, built_in, own = run.result["forwards"]
    assert plain == run.result["tokens"]
    assert max(built_in, own) < plain / 2
    assert f"{plain} tokens in {own} forward passes" in run.output


@pytest.mark.parametrize("settings", [{}, {"ngram": 1, "guesses": 3}, {"ngram": 2, "guesses": 1}, {"max_tokens": 1}])
def test_lookup_changes_no_token_whatever_the_model(chance: Stage, settings: dict[str, int]) -> None:
    prompt = "red green blue red green blue red green blue red"
    run = chance.run("lookup", **{"prompt": prompt, "max_tokens": 40, **settings})
    assert run.result["same"]
    plain, built_in, own = run.result["forwards"]
    assert plain == run.result["tokens"] <= settings.get("max_tokens", 40)
    assert max(built_in, own) <= plain + 1


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_draft_model_saves_more_than_half_of_the_steps(tiny: Stage, temperature: float) -> None:
    run = tiny.run("draft", temperature=temperature)
    assert all(one["same"] for one in run.result)
    plain, drafted = (sum(one["forwards"][i] for one in run.result) for i in (0, 1))
    assert plain == sum(one["tokens"] for one in run.result)
    assert drafted < plain / 2
    assert "guessed by tiny-draft" in run.output
    assert run.result[1]["text"] == '{"name": "Nora Brandt", "city": "Lisbon"}'


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draft_model_that_guesses_badly_changes_no_token(chance: Stage, temperature: float) -> None:
    run = chance.run("draft", prompts=["One.", "Two."], guesses=3, temperature=temperature)
    assert "guessed by small" in run.output
    for one in run.result:
        assert one["same"]
        plain, drafted = one["forwards"]
        assert drafted <= plain == one["tokens"]
