"""Requests for a tool, with its schema and the arguments that they name.

Those for tools of daily life are composed of an opening, a command or a question, and the arguments in any order;
made-up tools have names, parameters and values that nobody has seen.
"""

from __future__ import annotations

from typing import Any

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen, begun, upper_first
from tiny.tools import ALIASES, TOOLS, Parameter, Tool, complaint
from tiny.words import Value, articles, as_list, with_article

W = banks("calls")
OPENINGS = (
    "|||Please |Can you |Could you |I need you to |I want you to |I would like you to |Hi! Please |Hello, can you "
    "|Help me to |Go ahead and |Would you |Now |Next, |It is time to |[Hi|Hey], |I want to |Let us |Will you "
    "|{_} {_} |{z} {z}, |{z}: |{_} {_} {_} to |{_} {z} {_} "
    "|~Would you be so kind and |~Do me a favor and |~I would be grateful if you could |~What I want is that you "
)
ENDINGS = (
    "|||| please|, please|, thanks| right now| now| if you can| if possible| for me| as soon as possible| today"
    "|, thank you|. Thanks!| later today| {_} {_}|, {_} {_} {_}| {_}|, {z} {_}|~, if it is no trouble|~ before I forget"
    "|~, I am in a hurry|~, nothing else| when you have a moment| at once"
)
PREFIXES = ("do", "run", "my", "api", "current", "fetch")
FRONTS = ("in", "for", "on", "at", "from", "with")
"""An argument that begins so may stand in front."""
Schema = dict[str, Any]
Asked = tuple[Schema, str, dict[str, Any]]
"""A schema, a request, the arguments that it names."""


def known(pen: Pen) -> Asked:
    """A tool of daily life, now and then under other names."""
    tool = pen.word(TOOLS)
    given = dict(tool.parameters)
    optional = {key: one for key, one in tool.extra.items() if not pen.plain and pen.chance(0.6)}
    told = {key: one for key, one in optional.items() if pen.chance(0.6)}
    given |= told
    arguments = {key: one.make(pen) for key, one in given.items()}
    request = _request(pen, tool, given, arguments)
    return _renamed(pen, tool, {**tool.parameters, **optional}, arguments, request)


def _request(pen: Pen, tool: Tool, given: dict[str, Parameter], arguments: dict[str, Value]) -> str:
    shown = {key: _quoted(pen, one, arguments[key]) for key, one in given.items()}
    if tool.free and pen.chance(0.3) and not pen.plain:
        text = pen.ask(tool.free, **shown)
        for key in [key for key in given if key not in tool.parameters]:
            end = text[-1] if text[-1] in ".?" else ""
            text = f"{text.rstrip('.?')} {pen.write(given[key].says, v=shown[key])}{end}".replace(" ,", ",")
        return begun(text, shown.values())
    keys = list(given) if tool.fixed or pen.plain else pen.shuffled(list(given))
    parts = [pen.write(given[key].says, v=shown[key]) for key in keys]
    if len(parts) == 1 and not pen.plain and not pen.unseen and pen.chance(0.1):
        parts = [pen.write("{_} {v}|{_} {_} {v}|{_} the {v}|{_} {_} {_} {v}", v=shown[keys[0]])]
    if parts[0][0] in ",:" and len(parts) > 1:
        parts.reverse()
    question = bool(tool.asks) and pen.chance(0.4)
    opening = "" if question or pen.plain else pen.ask(OPENINGS)
    command = pen.ask(tool.asks if question else tool.does)
    mark = "?" if question or opening.startswith(("Can", "Could", "Would", "Will", "Hello, can")) else "."
    shape = 0 if pen.plain or tool.fixed else pen.between(0, 9)
    if shape == 8 and not opening.startswith(("H", "N")) and parts[0].split()[0] in FRONTS:
        small = opening[:1].lower() + opening[1:] + command[0].lower() + command[1:]
        text = f"{upper_first(parts[0])}, {small} {' '.join(parts[1:])}".rstrip()
    elif shape == 9 and len(parts) > 1:
        cut = pen.between(1, len(parts) - 1)
        rest = begun(" ".join(parts[cut:]).lstrip(",: "), shown.values())
        text = f"{opening}{command} {' '.join(parts[:cut])}{mark} {rest}"
        mark = "."
    else:
        text = f"{opening}{command} {' '.join(parts)}"
    ending = "" if pen.plain or given[keys[-1]].make in (words.phrase, complaint) else pen.write(ENDINGS)
    if ending.endswith("!"):
        text += mark + ending[1:]
    else:
        text += ending
        text += mark if pen.plain else pen.choice((mark, mark, mark, "", "!" if mark == "." else mark))
    return articles(upper_first(text.replace(" ,", ",").replace(" :", ":")))


def _quoted(pen: Pen, one: Parameter, value: Value) -> str:
    text = str(value)
    if one.kind == "string" and not one.one_of and not pen.plain and pen.chance(0.12):
        return pen.choice(('"{}"', "'{}'", '"{}"', "`{}`")).format(text)
    return text


def _renamed(
    pen: Pen, tool: Tool, parameters: dict[str, Parameter], arguments: dict[str, Value], request: str
) -> Asked:
    names = {key: key for key in parameters}
    title = tool.name
    if not pen.plain:
        for key in parameters:
            other = _other_name(pen, key)
            names[key] = other if other not in names.values() else key
        title = _other_title(pen, title) if pen.chance(0.4) else title
    properties: Schema = {}
    for key, one in parameters.items():
        detail: Schema = {"type": one.kind}
        if one.one_of:
            detail["enum"] = list(one.one_of)
        if not pen.plain and ((names[key] != key and names[key] not in ALIASES.get(key, "")) or pen.chance(0.4)):
            detail["description"] = pen.write(
                W["parameter"], k=key.replace("_", " "), K=upper_first(key.replace("_", " "))
            )
        properties[names[key]] = detail
    required = [names[key] for key in tool.parameters]
    told = {names[key]: value for key, value in arguments.items()}
    ending = "" if pen.plain else pen.choice(("", "", ".", ".", " for the user", " and return it"))
    schema = _schema(title, tool.description + ending, properties, required)
    if not pen.plain and pen.chance(0.2):
        schema["parameters"]["additionalProperties"] = False
    return schema, request, {key: told[key] for key in properties if key in told}


def _other_name(pen: Pen, key: str) -> str:
    kind = pen.random.random()
    if kind < 0.55:
        return key
    if kind < 0.85 and key in ALIASES:
        return pen.choice(ALIASES[key].split())
    return f"{key}_{pen.choice(('name', 'value', 'text'))}" if kind < 0.9 else pen.coined()


def _other_title(pen: Pen, title: str) -> str:
    verb, _, rest = title.partition("_")
    rest = rest or verb
    made = (title.replace("_", ""), title + "_v2", title.replace("_", "-"), verb + upper_first(rest))
    prefix, coined = pen.choice(PREFIXES), pen.coined()
    alone = pen.coined()
    return pen.choice(
        (*made, f"{prefix}_{rest}", f"{verb}_current_{rest}", f"{coined}_{rest}", alone, rest, f"{verb}.{rest}")
    )


def _schema(name: str, description: str, properties: Schema, required: list[str]) -> Schema:
    parameters = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": description, "parameters": parameters}


PAIRS = tuple(W["pairs"].split("|"))
PAIRS_UNSEEN = tuple(W["unseen pairs"].split("|"))


def invented(pen: Pen) -> Asked:
    """A tool that is none."""
    verb = pen.word(words.VERBS) if pen.chance(0.8) else pen.coined()
    noun = pen.word(words.NOUNS) if pen.chance(0.5) else pen.coined()
    arguments: dict[str, Any] = {}
    properties: Schema = {}
    optional: list[str] = []
    for _ in range(pen.choice((1, 1, 2, 2, 3, 4))):
        key = _key(pen)
        if key in properties:
            continue
        properties[key], value = _parameter(pen)
        if not pen.plain and pen.chance(0.4):
            properties[key] = {**properties[key], "description": f"The {key.replace('_', ' ')}"}
        if arguments and not pen.plain and pen.chance(0.2):
            optional.append(key)
            if pen.chance(0.5):
                continue
        arguments[key] = value
    pairs = PAIRS_UNSEEN if pen.unseen else PAIRS[:3] if pen.plain else PAIRS
    one = pen.choice(pairs)
    if not pen.plain and not pen.unseen and pen.chance(0.2):
        one = pen.write(W["any pairs"], k="{k}", v="{v}")
    spaced = not pen.plain and pen.chance(0.3)
    keys = list(arguments) if pen.plain else pen.shuffled(list(arguments))
    parts = [one.format(k=key.replace("_", " ") if spaced else key, v=_spoken(pen, arguments[key])) for key in keys]
    said = as_list(parts, pen.choice((" and ", ", "))) if pen.chance(0.8) else "; ".join(parts)
    name = f"{verb}_{noun}"
    what = f"{verb} {pen.choice((f'the {noun}', noun, with_article(noun), f'my {noun}', f'this {noun}'))}"
    request = pen.ask(W["invented"], w=what, p=said, n=name).replace(" ( ", " (")
    required = [key for key in properties if key not in optional]
    schema = _schema(name, f"{upper_first(verb)} the {noun}", properties, required)
    return schema, begun(request, parts), {key: arguments[key] for key in properties if key in arguments}


def _key(pen: Pen) -> str:
    """What a parameter may be called."""
    coined, other, word = pen.coined(), pen.coined(), words.word(pen)
    compound = f"{pen.word(words.NOUNS)}_{pen.choice(('id', 'name', 'type', 'size'))}"
    return pen.choice((coined, other, word, compound, f"{pen.coined(1)}_{pen.coined(1)}"))


def _parameter(pen: Pen) -> tuple[Schema, Any]:
    kind = pen.random.random()
    if kind < 0.6 or pen.plain:
        return {"type": "string"}, str((words.word if pen.plain else words.anything)(pen))
    if kind < 0.75:
        return {"type": "integer"}, words.number(pen)
    if kind < 0.82:
        return {"type": "number"}, words.amount(pen)
    if kind < 0.88:
        return {"type": "boolean"}, pen.chance(0.5)
    if kind < 0.95:
        options = list(dict.fromkeys(words.word(pen) for _ in range(pen.between(2, 4))))
        return {"type": "string", "enum": options}, pen.choice(options)
    return {"type": "array", "items": {"type": "string"}}, [words.word(pen) for _ in range(pen.between(1, 3))]


def _spoken(pen: Pen, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f'"{text}"' if isinstance(value, str) and not pen.plain and pen.chance(0.12) else text
