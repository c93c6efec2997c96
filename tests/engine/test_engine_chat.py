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


TALK = {
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": " hi "},
        {
            "role": "assistant",
            "content": "<think>\nx\n</think>\n\nyes",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {"a": 1, "b": "<x> é"}}}],
        },
        {"role": "tool", "content": "42"},
        {"role": "user", "content": "more"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}],
    "add_generation_prompt": True,
}
IDIOMS = (
    "{%- for m in messages -%}{%- generation -%} {{ m.content }} {%- endgeneration -%}{%- endfor -%}",
    "{% for m in messages %}\n{% generation %}\n{{ m.content }}\n{% endgeneration %}\n{% endfor %}",
    "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.role }}"
    "{% if loop.index0 > 2 %}{% break %}{% endif %}{% endfor %}",
    "{% set ns = namespace(a=0) %}{% for m in messages[::-1] %}{% set i = (messages|length - 1) - loop.index0 %}"
    "{% if m.role == 'user' and not(m.content.startswith('<t>')) %}{% set ns.a = i %}{% endif %}{% endfor %}{{ ns.a }}",
    "{% set c = messages[2].content %}{{ c.split('</think>')[-1].lstrip('\\n') }}|"
    "{{ c.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') }}",
    "{{ tools | tojson }}{{ tools | tojson(indent=4) }}{% for t in tools %}{{ t.function | tojson }}{% endfor %}",
    "{% for k, v in messages[2].tool_calls[0].function.arguments.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% if tools is not none and tools is defined and (tools | length) %}T{% endif %}{{ x is not defined }}"
    "{{ messages[0].content is string }}{{ messages is iterable }}{{ messages[0] is mapping }}",
    "{% macro f(x, y='z') %}[{{ x }}{{ y }}]{% endmacro %}{{ f('a') }}{{ f('b', y='c') }}",
    "{% set rest = messages[1:] %}{{ rest[0]['role'] }}{{ '<|' ~ messages[0].role ~ '|>' + bos_token }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "{{ messages | map(attribute='role') | join(',') }}",
    "{{ messages[0].get('content') }}{{ messages[0].get('foo', 'else') }}{{ 'content' in messages[0] }}",
    "{{ '%s-%d' | format('a', 3) }}{{ 'a-b'.replace('-', '_') }}{{ 'abc'.title() }}{{ messages[1].content | trim }}",
    "{{ 1.0 }} {{ 3 // 2 }} {{ true }} {{ none }} {{ [1, 'a', none, true] }} {{ {'a': 1} }}",
)


@pytest.mark.parametrize("source", IDIOMS)
def test_what_templates_do_renders_as_in_transformers(source):
    from transformers.utils.chat_template_utils import render_jinja_template

    template = ChatTemplate(source, {"bos_token": "<s>"})
    [[expected], _] = render_jinja_template(
        [TALK["messages"]],
        tools=TALK["tools"],
        chat_template=source,
        add_generation_prompt=True,
        bos_token="<s>",
    )
    assert template.render(TALK) == expected


def test_a_template_for_tools(tmp_path):
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}, {"name": "x"}, 3]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert [template.render({"messages": [], "tools": t}) for t in (None, [], [{}])] == ["plain", "plain", "tools"]
    (tmp_path / "chat_template.jinja").write_text("file")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools in a file")
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert [template.render({"messages": [], "tools": t}) for t in (None, [{}])] == ["file", "tools in a file"]


@pytest.mark.parametrize("entry", [3, [], ["x"], {"a": 1}, [{"name": "other", "template": "x"}]])
def test_no_template(entry, tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": entry}))
    assert ChatTemplate.load(tmp_path) is None
