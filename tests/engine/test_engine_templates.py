"""Whole chat templates of the kinds that the families come with, rendered as transformers renders them; and bounded.

Written for this test, in the manner of Llama 3, Mistral and Qwen: tools, a default system prompt, dates, namespaces,
loop controls, whitespace control, refusals of their own.
"""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from symphony import param
from symphony.engine.chat import MAX_TEMPLATE_BYTES, ChatTemplate
from symphony.errors import Invalid, LimitExceeded

HEADERS = """
{{- bos_token }}
{%- if custom_tools is defined %}{% set tools = custom_tools %}{% endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}{% set date_string = strftime_now("%d %b %Y") %}
    {%- else %}{% set date_string = "26 Jul 2024" %}{% endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set about = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set about = "" %}
{%- endif %}
{{- "<|head|>system<|end|>\\n\\n" }}
{%- if tools is not none %}{{ "Environment: code\\n" }}{% endif %}
{{- "Today is: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {{- "You may call these functions. Answer in the form " }}
    {{- '{"name": function name, "parameters": {names: values}}.\\n\\n' }}
    {%- for tool in tools %}
        {{- tool | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- about + "<|turn|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|head|>' + message['role'] + '<|end|>\\n\\n' + message['content'] | trim + '<|turn|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("One call at a time!") }}
        {%- endif %}
        {%- set call = message.tool_calls[0].function %}
        {{- '<|head|>assistant<|end|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
        {{- call.arguments | tojson }}
        {{- "}<|turn|>" }}
    {%- elif message.role == "tool" %}
        {{- "<|head|>result<|end|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|turn|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""
BRACKETS = """
{%- if messages[0]["role"] == "system" %}
    {%- set about, turns = messages[0]["content"], messages[1:] %}
{%- else %}
    {%- set turns = messages %}
{%- endif %}
{%- if not tools is defined %}{% set tools = none %}{% endif %}
{%- set asked = turns | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for turn in turns %}
    {%- if not (turn.role == "tool" or (turn.tool_calls is defined and turn.tool_calls is not none)) %}
        {%- if (turn["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Turns of the user and the assistant must alternate, after an optional system one") }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for turn in turns %}
    {%- if turn["role"] == "user" %}
        {%- if tools is not none and (turn == asked[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, value in tool.items() if key != "return" %}
                    {%- if value is string %}{{ '"' + key + '": "' + value + '"' }}
                    {%- else %}{{ '"' + key + '": ' + value | tojson }}{% endif %}
                    {%- if not loop.last %}{{ ", " }}{% endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" }}{%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and about is defined %}
            {{- "[ASK] " + about + "\\n\\n" + turn["content"] + "[/ASK]" }}
        {%- else %}
            {{- "[ASK] " + turn["content"] + "[/ASK]" }}
        {%- endif %}
    {%- elif turn.tool_calls is defined and turn.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for call in turn.tool_calls %}
            {%- set out = call.function | tojson %}
            {{- out[:-1] }}
            {%- if not call.id is defined or call.id | length != 9 %}
                {{- raise_exception("Ids of calls have 9 characters!") }}
            {%- endif %}
            {{- ', "id": "' + call.id + '"}' }}
            {%- if not loop.last %}{{- ", " }}{%- else %}{{- "]" + eos_token }}{%- endif %}
        {%- endfor %}
    {%- elif turn["role"] == "assistant" %}
        {{- " " + turn["content"] | trim + eos_token }}
    {%- elif turn["role"] == "tool" %}
        {%- if turn.content is defined and turn.content.content is defined %}
            {%- set content = turn.content.content %}
        {%- else %}
            {%- set content = turn.content %}
        {%- endif %}
        {{- '[RESULTS] {"content": ' + content | string + ', "call_id": "' + turn.tool_call_id + '"}[/RESULTS]' }}
    {%- else %}
        {{- raise_exception("Only user, assistant and tool turns!") }}
    {%- endif %}
{%- endfor %}
"""
MARKS = """
{%- macro open(role) -%}<|begin|>{{ role }}{{ "\\n" }}{%- endmacro -%}
{%- if tools %}
    {{- open('system') }}
    {%- if messages[0].role == 'system' %}{{- messages[0].content + '\\n\\n' }}{%- endif %}
    {{- "# Tools\\n\\nYour functions are within <tools></tools>:\\n<tools>" }}
    {%- for tool in tools %}{{- "\\n" }}{{- tool | tojson }}{%- endfor %}
    {{- '\\n</tools>\\n\\nCall one as <call>{"name": <name>, "arguments": <object>}</call><|done|>\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- open('system') + messages[0].content + '<|done|>\\n' }}
{%- else %}
    {{- open('system') + 'You help.<|done|>\\n' }}
{%- endif %}
{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string
          and not(message.content.startswith('<result>') and message.content.endswith('</result>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
        {%- break %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'system' and loop.first %}{% continue %}{% endif %}
    {%- if message.content is string %}{% set content = message.content %}{% else %}{% set content = '' %}{% endif %}
    {%- if message.role == 'user' or message.role == 'system' %}
        {{- open(message.role) + content + '<|done|>' + '\\n' }}
    {%- elif message.role == 'assistant' %}
        {%- set thoughts = '' %}
        {%- if message.reasoning_content is string %}
            {%- set thoughts = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thoughts) %}
            {{- open(message.role) + '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- open(message.role) + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}{{- '\\n' }}{%- endif %}
                {%- if call.function %}{%- set call = call.function %}{%- endif %}
                {{- '<call>\\n{"name": "' ~ call.name ~ '", "arguments": ' }}
                {%- if call.arguments is string %}{{- call.arguments }}
                {%- else %}{{- call.arguments | tojson }}{%- endif %}
                {{- '}\\n</call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|done|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}{{- '<|begin|>user' }}{%- endif %}
        {{- '\\n<result>\\n' + content + '\\n</result>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}{{- '<|done|>\\n' }}{%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- open('assistant') }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}
"""
LINES = """
{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}
{% set system_message = messages[0]['content'] %}
{% else %}
{% set loop_messages = messages %}
{% set system_message = false %}
{% endif %}
{% for message in loop_messages %}
  {% if loop.index0 == 0 and system_message != false %}
    {% set content = '<<S>>\\n' + system_message + '\\n<</S>>\\n\\n' + (message['content'] or '') %}
  {% else %}
    {% set content = message['content'] or '' %}
  {% endif %}
  {% if message['role'] == 'user' %}
{{ bos_token + '[ASK] ' + content.strip() + ' [/ASK]' }}
  {% else %}
{{ ' ' + content.strip() + ' ' + eos_token }}
  {% endif %}
{% endfor %}
"""
TEMPLATES = {"headers": HEADERS, "brackets": BRACKETS, "marks": MARKS, "lines": LINES}

ASK = {"role": "user", "content": '  What is 2 < 3 & "so" on? é\n'}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "weather", "arguments": {"city": "Zürich", "n": 2}}}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tells the weather of a <city>.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "n": {"type": "integer", "default": None}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {}}},
]
TALKS: dict[str, list[dict[str, Any]]] = {
    "a question": [ASK],
    "with a system prompt": [{"role": "system", "content": " Be brief. "}, ASK],
    "several turns": [
        {"role": "system", "content": "Be brief."}, ASK,
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes."}, {"role": "user", "content": "Why?"},
    ],
    "a call": [
        ASK, {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "21", "tool_call_id": "abcdefghi", "name": "weather"},
        {"role": "assistant", "content": "Warm."}, {"role": "user", "content": "And now?"},
    ],
    "an answer after calls": [
        ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "21", "tool_call_id": "abcdefghi"},
        {"role": "tool", "content": "22", "tool_call_id": "abcdefghi"},
        {"role": "assistant", "content": "Warm.", "reasoning_content": "so"},
    ],
    "two calls": [ASK, {"role": "assistant", "content": "x", "tool_calls": [CALL, CALL]}],
    "twice the user": [ASK, ASK],
    "nobody": [{"role": "critic", "content": "no"}],
}  # fmt: skip


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_as_transformers_renders_it(name, talk):
    from jinja2.exceptions import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    template = ChatTemplate(TEMPLATES[name], {"bos_token": "<s>", "eos_token": "</s>"})
    for tools in (None, TOOLS):
        for more in ({}, {"add_generation_prompt": True}, {"enable_thinking": False, "add_generation_prompt": True}):
            conversation = {"messages": TALKS[talk], "tools": tools, **more}
            given = {"add_generation_prompt": False, **more, "bos_token": "<s>", "eos_token": "</s>"}
            try:
                [[expected], _] = render_jinja_template(
                    [TALKS[talk]], tools=tools, chat_template=TEMPLATES[name], **given
                )
            except (TemplateError, TypeError):
                with pytest.raises(Invalid):
                    template.render(conversation)
            else:
                assert template.render(conversation) == expected


def test_dates():
    template = ChatTemplate("{{ strftime_now(messages[0]) }}")
    today = datetime.datetime.now()
    assert template.render({"messages": ["%d %b %Y"]}) in {
        (today + datetime.timedelta(days)).strftime("%d %b %Y") for days in (0, 1)
    }
    for form in ("%0999999999d", "%" * 101, "x" * 200, "%1"):
        with pytest.raises(Invalid, match="strftime_now cannot write"):
            template.render({"messages": [form]})


@pytest.mark.parametrize(
    "source",
    [
        "{% set ns = namespace(s='x'*1000) %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
        "{{ 'x' * 10**9 }}",
        "{{ ('a'*1000).replace('a','b'*1000).replace('b','c'*1000) }}",
        "{{ ('a'*1000)|list|join('b'*900000) }}",
        "{{ 'a'|indent(1000000000) }}",
        "{{ '%0900000000d'|format(3) }}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
        "{{ messages|tojson(indent=1000000000) }}",
        "{% for i in range(100000) %}{% set x = messages|tojson %}{% endfor %}",
        "{{ range(10**9) }}",
        "{{ 2 ** 1000000 }}",
    ],
)  # fmt: skip
def test_templates_that_blow_up_are_stopped(source, peak):
    with pytest.raises((LimitExceeded, Invalid)):
        ChatTemplate(source).render({"messages": ["x" * 1000]})
    assert peak() < 200 << 20


@pytest.fixture
def peak():
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return lambda: (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10


@pytest.mark.parametrize(
    "source", ["{{ " + "(" * 100_000, "{% if x %}" * 50_000, "{{ [" + "[" * 200_000, "{{ 'x" * 1000]
)
def test_templates_that_cannot_be_read(source):
    with pytest.raises(Invalid, match="chat template"):
        ChatTemplate(source)


def test_a_template_that_is_too_long(tmp_path):
    (tmp_path / "chat_template.jinja").write_text("x" * (MAX_TEMPLATE_BYTES + 1))
    with pytest.raises(Invalid, match="longer than 1 MiB"):
        ChatTemplate.load(tmp_path)
    assert MAX_TEMPLATE_BYTES < param.MAX_TEXT_CHARS


def test_json_as_transformers_writes_it():
    from transformers.utils.chat_template_utils import render_jinja_template

    source = (
        "{{ messages|tojson(separators=(',', ':')) }}{{ messages|tojson(sort_keys=true) }}"
        "{{ messages|tojson(ensure_ascii=true, indent=2) }}{{ 'é<'|tojson }}{{ 1.5|tojson }}{{ none|tojson }}"
    )
    messages = [{"role": "user", "content": "é"}]
    [[expected], _] = render_jinja_template([messages], chat_template=source)
    assert ChatTemplate(source).render({"messages": messages}) == expected
