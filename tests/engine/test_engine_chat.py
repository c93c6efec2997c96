"""Chat templates: rendered as transformers renders them, bounded, with the template's own words on errors."""

from __future__ import annotations

import json

import pytest

from symphony.engine import chat
from symphony.engine.chat import ChatTemplate
from symphony.engine.registry import find
from symphony.errors import Invalid, LimitExceeded

CONVERSATIONS = (
    {"messages": [{"role": "user", "content": "Hi <b> & é"}], "add_generation_prompt": True},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "x"}]},
    {
        "messages": [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Zürich <1>"}}}],
            },
            {"role": "tool", "content": '{"t": 3}'},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
        "add_generation_prompt": True,
    },
)


@pytest.mark.parametrize("conversation", CONVERSATIONS)
def test_the_template_of_tiny_renders_as_in_transformers(conversation):
    from transformers import PreTrainedTokenizerFast

    template = ChatTemplate.load(find("tiny"))
    assert template is not None
    reference = PreTrainedTokenizerFast.from_pretrained(str(find("tiny")))
    expected = reference.apply_chat_template(
        conversation["messages"],
        tools=conversation.get("tools"),
        add_generation_prompt=conversation.get("add_generation_prompt", False),
        tokenize=False,
    )
    assert template.render(conversation) == expected


def test_further_members_are_variables():
    assert (
        ChatTemplate("{{ mood }} {{ bos_token }}", {"bos_token": "<s>"}).render({"messages": [], "mood": "x"})
        == "x <s>"
    )


def test_python_methods_and_loops_work():
    source = (
        "{% for m in messages %}\n{{ m.content.strip().upper() }}{{ m['role'][1:] }}"
        "{% if not loop.last %},{% endif %}{% endfor %}"
    )
    messages = [{"role": "user", "content": " a "}, {"role": "user", "content": "b"}]
    assert ChatTemplate(source).render({"messages": messages}) == "Aser,Bser"


def test_the_templates_own_refusal():
    template = ChatTemplate("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(Invalid, match="roles must alternate"):
        template.render({"messages": []})


@pytest.mark.parametrize("conversation", [{}, {"messages": "x"}, {"messages": [1]}, {"messages": [{"content": "x"}]}])
def test_conversations_that_do_not_fit(conversation):
    template = ChatTemplate.load(find("tiny"))
    assert template is not None
    with pytest.raises(Invalid):
        template.render(conversation)


def test_a_template_that_does_not_end_is_stopped():
    loop = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}"
    with pytest.raises(LimitExceeded, match="ran too long"):
        ChatTemplate(loop).render({"messages": []})


def test_a_text_that_is_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(chat.param, "MAX_TEXT_CHARS", 10)
    with pytest.raises(LimitExceeded, match="longer than 10"):
        ChatTemplate("{{ messages[0] }}").render({"messages": ["x" * 11]})


def test_where_templates_come_from(tmp_path):
    assert ChatTemplate.load(tmp_path) is None
    config = {"chat_template": "old {{ bos_token }}", "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert template.render({"messages": []}) == "old <s>"
    several = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert template.render({"messages": []}) == "plain"
    (tmp_path / "chat_template.jinja").write_text("{% if %}")
    with pytest.raises(Invalid, match="cannot be read"):
        ChatTemplate.load(tmp_path)
