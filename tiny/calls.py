"""Tool calls: tools with a schema, requests for some of them, the calls, their results and what is told of these.

Requests for tools of daily life are composed of an opening, a command or a question, and its arguments in any order;
made-up tools have names, parameters and values that nobody has seen.
"""

from __future__ import annotations

from typing import Any

from tiny import words
from tiny.banks import banks
from tiny.pen import Pen, begun, upper_first
from tiny.talk import NO_IDEA, TALK, capital, unknown
from tiny.tasks import Turns
from tiny.tools import ALIASES, TOOLS, Parameter, Tool, complaint
from tiny.words import Value, articles, as_json, as_list, with_article

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
HEADS = (
    "You can call tools.\n<tools>\n{t}\n</tools>", "You are a helpful assistant.\n\n# Tools\n<tools>\n{t}\n</tools>",
    "Tools you may use:\n<tools>\n{t}\n</tools>\n"
    'To use one, write <tool_call>{{"name": ..., "arguments": ...}}</tool_call>.',
)  # fmt: skip
PREFIXES = ("do", "run", "my", "api", "current", "fetch")
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
        for key in given.keys() - tool.parameters.keys():
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
    if (
        shape == 8
        and not opening.startswith(("H", "N"))
        and parts[0].split()[0] in ("in", "for", "on", "at", "from", "with")
    ):
        front = f"{upper_first(parts[0])}, "
        text = (
            f"{front}{opening[:1].lower()}{opening[1:]}{command[0].lower()}{command[1:]} {' '.join(parts[1:])}".rstrip()
        )
    elif shape == 9 and len(parts) > 1:
        cut = pen.between(1, len(parts) - 1)
        rest = begun(" ".join(parts[cut:]).lstrip(",: "), shown.values())
        text = f"{opening}{command} {' '.join(parts[:cut])}{mark} {rest}"
        mark = "."
    else:
        text = f"{opening}{command} {' '.join(parts)}"
    ending = "" if pen.plain or given[keys[-1]].make in (words.phrase, complaint) else pen.write(ENDINGS)
    if ending.endswith("!"):
        return articles(upper_first((text + mark + ending[1:]).replace(" ,", ",").replace(" :", ":")))
    mark = pen.choice((mark, mark, mark, "", "!" if mark == "." else mark)) if not pen.plain else mark
    return articles(upper_first((text + ending + mark).replace(" ,", ",").replace(" :", ":")))


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
            kind = pen.random.random()
            other = (
                key
                if kind < 0.55
                else pen.choice(ALIASES[key].split())
                if key in ALIASES and kind < 0.85
                else f"{key}_{pen.choice(('name', 'value', 'text'))}"
                if kind < 0.9
                else pen.coined()
            )
            names[key] = other if other not in names.values() else key
        if pen.chance(0.4):
            verb, _, rest = title.partition("_")
            rest = rest or verb
            title = pen.choice((
                title.replace("_", ""), title + "_v2", title.replace("_", "-"), verb + upper_first(rest),
                f"{pen.choice(PREFIXES)}_{rest}",
                f"{verb}_current_{rest}", f"{pen.coined()}_{rest}", pen.coined(), rest, f"{verb}.{rest}",
            ))  # fmt: skip
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
    description = tool.description + (
        "" if pen.plain else pen.choice(("", "", ".", ".", " for the user", " and return it"))
    )
    schema = _schema(title, description, properties, required)
    if not pen.plain and pen.chance(0.2):
        schema["parameters"]["additionalProperties"] = False
    return schema, request, {key: told[key] for key in properties if key in told}


def _schema(name: str, description: str, properties: Schema, required: list[str]) -> Schema:
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }


PAIRS = (
    "{k} {v}",
    "{k}={v}",
    "{k}: {v}",
    "{k} set to {v}",
    "the {k} is {v}",
    "{v} as {k}",
    "{v} as the {k}",
    "{k} = {v}",
    "the {k} {v}",
    "{v} for the {k}",
    "{k} is {v}",
    "{k} of {v}",
    "{k} -> {v}",
    "{v} for {k}",
    "{k} must be {v}",
    "let {k} be {v}",
    "{v} ({k})",
    "{v} goes to {k}",
    "{k} equal to {v}",
    "the {k} should be {v}",
    "{k} gets {v}",
)
PAIRS_UNSEEN = ("{k} being {v}", "{v} in the place of {k}", "a {k} of {v}")


def invented(pen: Pen) -> Asked:
    """A tool that is none."""
    verb = pen.word(words.VERBS) if pen.chance(0.8) else pen.coined()
    noun = pen.word(words.NOUNS) if pen.chance(0.5) else pen.coined()
    arguments: dict[str, Any] = {}
    properties: Schema = {}
    optional: list[str] = []
    for _ in range(pen.choice((1, 1, 2, 2, 3, 4))):
        key = pen.choice(
            (
                pen.coined(),
                pen.coined(),
                words.word(pen),
                f"{pen.word(words.NOUNS)}_{pen.choice(('id', 'name', 'type', 'size'))}",
                f"{pen.coined(1)}_{pen.coined(1)}",
            )
        )
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
        one = pen.write(
            "{k} {_} {v}|{k} {_} {_} {v}|{_} {k} {v}|{v} {_} {k}|{v} {_} {_} {k}|{_} {k} {_} {v}|{_} {v} {_} {_} {k}",
            k="{k}",
            v="{v}",
        )
    spaced = not pen.plain and pen.chance(0.3)
    keys = list(arguments) if pen.plain else pen.shuffled(list(arguments))
    parts = [one.format(k=key.replace("_", " ") if spaced else key, v=_spoken(pen, arguments[key])) for key in keys]
    said = as_list(parts, pen.choice((" and ", ", "))) if pen.chance(0.8) else "; ".join(parts)
    name = f"{verb}_{noun}"
    what = pen.choice(
        (
            f"{verb} the {noun}",
            f"{verb} {noun}",
            f"{verb} {with_article(noun)}",
            f"{verb} my {noun}",
            f"{verb} this {noun}",
        )
    )
    request = pen.ask(W["invented"], w=what, p=said, n=name).replace(" ( ", " (")
    request = begun(request, parts)
    required = [key for key in properties if key not in optional]
    return (
        _schema(name, f"{upper_first(verb)} the {noun}", properties, required),
        request,
        {key: arguments[key] for key in properties if key in arguments},
    )


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


def tools_of(pen: Pen, count: int = 0) -> tuple[str, list[Asked]]:
    """Some tools, and how they are shown."""
    made = [(known if pen.chance(0.55) else invented)(pen) for _ in range(count or pen.choice((1, 2, 2, 3, 3, 4, 5)))]
    by_name = {asked[0]["name"]: asked for asked in made}
    wrapped = pen.plain or pen.chance(0.8)
    head = HEADS[0] if pen.plain else pen.choice(HEADS)
    shown = "\n".join(
        [as_json({"type": "function", "function": schema} if wrapped else schema) for schema, _, _ in by_name.values()]
    )
    return head.format(t=shown), pen.shuffled(list(by_name.values()))


def written(asked: Asked) -> str:
    """The call as a model writes it."""
    return f"<tool_call>{as_json({'name': asked[0]['name'], 'arguments': asked[2]})}</tool_call>"


def call(pen: Pen) -> Turns:
    """One request among several tools; the last turn is the call."""
    system, made = tools_of(pen)
    return [("system", system), ("user", made[0][1]), ("assistant", written(made[0]))]


def conversation(pen: Pen) -> Turns:
    """Requests, calls, results and what is told of them; talk in between, and what no tool is there for."""
    system, made = tools_of(pen)
    turns: Turns = [("system", system)]
    for nth, asked in enumerate(made[: pen.choice((1, 1, 2, 2, 3))]):
        kind = pen.random.random()
        if kind < 0.1:
            turns += _besides(pen)
        elif kind < 0.18 and len(made) > 1:
            other = made[nth - 1]
            results = [_result(pen), _result(pen)]
            joined = pen.write(" Also: | And then: | Then: | And: |\n") + other[1]
            turns += [("user", asked[1] + joined), ("assistant", f"{written(asked)}\n{written(other)}")]
            turns += [*(("tool", shown) for shown, _ in results), ("assistant", " ".join(said for _, said in results))]
            continue
        elif kind < 0.23 and len(made) > 1:  # both before a result is there
            other = made[nth - 1]
            (shown, said), (shown2, said2) = _result(pen), _result(pen)
            turns += [
                ("user", asked[1]),
                ("assistant", written(asked)),
                ("user", other[1]),
                ("assistant", written(other)),
            ]
            turns += [
                ("tool", shown),
                ("assistant", said),
                *(_besides(pen) if pen.chance(0.3) else []),
                ("tool", shown2),
                ("assistant", said2),
            ]
            continue
        turns += [("user", asked[1]), ("assistant", written(asked))]
        if pen.chance(0.1):  # the result comes later
            turns += _besides(pen)
        shown, said = _result(pen)
        turns += [("tool", shown), ("assistant", said)]
    return turns


def _besides(pen: Pen) -> Turns:
    """What needs no tool."""
    kind = pen.between(0, 4)
    if kind == 0:
        return unknown(pen)
    if kind == 1:
        return capital(pen)
    asked = pen.choice(
        [key for key, due in TALK.items() if due not in (NO_IDEA, "I can not see outside, but a tool could tell me.")][
            : 6 if kind < 4 else None
        ]
    )
    return [("user", pen.ask(asked)), ("assistant", TALK[asked])]


RESULTS = (
    "result value status answer temperature total id sky price code message name city time count level unit".split()
)


def _result(pen: Pen) -> tuple[str, str]:
    """What a tool returns, and how the model tells it."""
    kind = pen.random.random()
    if kind < 0.08:
        error = words.phrase(pen)
        return as_json({"error": error}), f"Sorry, the call failed: {error}."
    if kind < 0.2:
        text = pen.choice(
            (words.word, words.phrase, words.number, lambda pen: f"{words.word(pen)}, {words.number(pen)} degrees")
        )(pen)
        return str(text), f"The result is {text}."
    made: dict[str, Value] = {}
    for _ in range(pen.choice((1, 1, 2, 2, 3, 4))):
        made[pen.choice(RESULTS) if pen.chance(0.8) else pen.coined()] = (
            words.number(pen) if pen.chance(0.4) else words.anything(pen)
        )
    return as_json(made), upper_first(" and ".join([f"the {key} is {value}" for key, value in made.items()])) + "."
