"""The agent against a scripted model: run `python -m pytest`."""

from app import app

from lip.testing import Host

PARIS = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'


def get_weather(city: str) -> dict[str, object]:
    if city != "Paris":
        raise ValueError(f"no such city: {city}")
    return {"sky": "clear"}


def test_it_calls_the_tool_and_answers() -> None:
    host = Host([PARIS, "It is clear in Paris."], tools={"get_weather": get_weather})
    assert host.run(app, question="What is the weather in Paris?") == "It is clear in Paris."
    assert host.calls[0].arguments == {"city": "Paris"}
    assert '{"sky": "clear"}' in host.prompts[1]  # what the model had read before its second reply


def test_it_answers_without_a_tool() -> None:
    host = Host(["Good morning!"], tools={"get_weather": get_weather})
    assert host.run(app, question="Hello") == "Good morning!"
    assert host.calls == []


def test_the_model_hears_of_its_mistakes() -> None:
    host = Host([PARIS.replace("Paris", "Atlantis"), "I do not know that city."], tools={"get_weather": get_weather})
    assert host.run(app) == "I do not know that city."
    assert "no such city: Atlantis" in host.prompts[1]


def test_it_does_not_go_on_for_ever() -> None:
    host = Host(lambda prompt: PARIS, tools={"get_weather": get_weather})
    assert host.run(app, rounds=3) == "No answer after 3 rounds of tools."
    assert len(host.calls) == 3
