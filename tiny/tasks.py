"""What the model is for, a dialogue at a time: documents, JSON, recall, sums, lists, steps of an agent, small talk.

A task takes a pen and returns turns (role, content); the last one, the assistant's, is what an answer is compared to.
Tools have a file of their own. It knows nothing of tokens.
"""

from __future__ import annotations

import json

from tiny import words
from tiny.pen import Manner, Pen, upper_first
from tiny.sentences import event, record

Turns = list[tuple[str, str]]
UNKNOWN = "I do not know."
HELD_OUT_PAIRS = 10
"""One pair of two-digit numbers of so many is never added or subtracted in training."""


def extraction(pen: Pen) -> Turns:
    fields, text = record(pen)
    chosen = pen.some(list(fields))
    asks = [
        "Extract {k} as JSON.\n{s}",
        "{s}\nExtract {k}. Answer in JSON.",
        "Text: {s}\nReturn a JSON object with {k}.",
        "Return JSON with the keys {k}.\nText: {s}",
        "{s}\nGive {k} as JSON.",
        "Get {k} from the text as JSON.\n{s}",
        "{s}\nI need {k} in one JSON object.",
        "Read this and tell me {k}, as a JSON object: {s}",
    ]
    ask = pen.wording(asks).replace("{k}", ", ".join(chosen)).replace("{s}", text)
    return [("user", ask), ("assistant", json.dumps({field: fields[field] for field in chosen}, ensure_ascii=False))]


def citation(pen: Pen, documents: int = 0) -> Turns:
    """A question about one of several documents, answered with its number, or that nobody knows."""
    events = [event(pen) for _ in range(documents or pen.choice([2, 3, 4, 6, 8]))]
    shown = "\n".join(f"[{number}] {each.text}" for number, each in enumerate(events, 1))
    number = pen.between(1, len(events))
    question, answer = pen.choice(events[number - 1].questions)
    answer = f"{answer} [{number}]"
    if pen.chance(0.1):
        question, answer = pen.choice(event(pen).questions)[0], UNKNOWN
    elif sum(question == other for each in events for other, _ in each.questions) > 1:
        return citation(pen, documents)  # two documents would answer
    heads = [
        "Documents:\n{c}\nQuestion: {q}",
        "{c}\nQuestion: {q}",
        "Context:\n{c}\nQ: {q}",
        "Sources:\n{c}\nPlease tell me: {q}",
    ]
    return [("user", pen.wording(heads).replace("{c}", shown).replace("{q}", question)), ("assistant", answer)]


def many_citations(pen: Pen) -> Turns:
    return citation(pen, 24)


def recall(pen: Pen, entries: int = 0) -> Turns:
    table: dict[str, str] = {}
    while len(table) < (entries or pen.choice([4, 8, 16, 32, 64])):
        table[words.key(pen)] = pen.choice([pen.coined(), words.code(pen), str(words.number(pen))])
    line = pen.choice(["{k}: {v}", "{k} = {v}", "- {k} -> {v}"])
    shown = "\n".join(line.format(k=key, v=value) for key, value in table.items())
    key = pen.choice(list(table))
    asks = [
        "What is the value of {k}?",
        "What is {k}?",
        "Give me the value for {k}.",
        "Look up {k}.",
        "Which value has {k}?",
    ]
    return [("user", f"Remember this:\n{shown}\n{pen.wording(asks).format(k=key)}"), ("assistant", table[key])]


def long_recall(pen: Pen) -> Turns:
    """Some 1,500 tokens."""
    return recall(pen, 125)


def held_out(a: int, b: int) -> bool:
    return (a * 7919 + b * 104729) % HELD_OUT_PAIRS == 0


def pair(pen: Pen, least: int = 0) -> tuple[int, int]:
    """Two numbers below 100, the larger first; held-out pairs only when evaluating."""
    while True:
        b, a = sorted((pen.between(least, 99), pen.between(least, 99)))
        if a < 10 or b < 10 or held_out(a, b) is (pen.manner is not Manner.VARIED):
            return a, b


SUMS = {
    "+": ["{a} + {b}", "{a} plus {b}", "the sum of {a} and {b}"],
    "-": ["{a} - {b}", "{a} minus {b}", "{b} less than {a}"],
}
IN_WORDS = [
    "What is {a} minus {b}?",
    "Subtract {b} from {a}.",
    "Take {b} away from {a}.",
    "{who} has {a} {things} and gives away {b}. How many {things} does {who} have now?",
    "If you take {b} from {a}, what is left?",
    "How much is left of {a} after {b} are gone?",
    "There were {a} {things} and {who} lost {b}. How many are left?",
]


def arithmetic(pen: Pen) -> Turns:
    a, b = pair(pen, 10)
    sign = pen.choice("+-")
    expression = pen.wording(SUMS[sign]).format(a=a, b=b)
    asks = ["What is {e}?", "Compute {e}.", "{e} = ?", "How much is {e}?", "Tell me {e}."]
    return [("user", pen.wording(asks).format(e=expression)), ("assistant", str(a + b if sign == "+" else a - b))]


def subtraction(pen: Pen) -> Turns:
    a, b = pair(pen, 10)
    ask = pen.wording(IN_WORDS).format(a=a, b=b, who=words.name(pen), things=pen.word(words.THINGS) + "s")
    return [("user", ask), ("assistant", str(a - b))]


def judge(pen: Pen) -> Turns:
    if pen.chance(0.5):
        a, b = pen.between(0, 99), pen.between(0, 99)
        asks = ["Is {a} greater than {b}?", "Judge: {a} > {b}", "Is {a} more than {b}?", "Does {a} exceed {b}?"]
        return [("user", pen.wording(asks).format(a=a, b=b)), ("assistant", "yes" if a > b else "no")]
    a, b = pair(pen)
    shown = max(a + b + pen.choice([0, 0, 0, -10, -2, -1, 1, 2, 10]), 0)
    asks = [
        "Is it right? {a} + {b} = {s}",
        "Is {a} + {b} = {s} correct?",
        "Judge: {a} + {b} = {s}",
        "True or not: {a} + {b} = {s}",
    ]
    return [("user", pen.wording(asks).format(a=a, b=b, s=shown)), ("assistant", "yes" if shown == a + b else "no")]


def lists(pen: Pen) -> Turns:
    items = [words.word(pen) for _ in range(pen.between(2, 8))]
    operations = [
        (["Reverse: {s}", "Reverse the list {s}", "Turn this list around: {s}"], ", ".join(items[::-1])),
        (["Count: {s}", "How many items? {s}", "How long is this list? {s}"], str(len(items))),
        (["First: {s}", "What is the first item of {s}?", "What does this list begin with? {s}"], items[0]),
        (["Last: {s}", "What is the last item of {s}?", "What does this list end with? {s}"], items[-1]),
        (["As a JSON list: {s}", "Make a JSON list: {s}", "Put this into a JSON array: {s}"], json.dumps(items)),
        (["Make a bullet list: {s}", "Bullets: {s}", "One bullet each: {s}"], "\n".join(f"- {item}" for item in items)),
    ]
    bank, answer = pen.choice(operations)
    return [("user", pen.wording(bank).format(s=", ".join(items))), ("assistant", answer)]


TOOLS = "Answer the question with the tools lookup[key], search[text], calc[expression] and finish[answer]."


def react(pen: Pen) -> Turns:
    """The whole trace of an agent; its answer is the last turn."""
    who = words.name(pen)
    relation = pen.word(["age", "job", "city", "email", "boss"])
    makers = {"age": words.within(1, 99), "job": words.of(words.JOBS), "city": words.city, "email": words.email}
    value = makers.get(relation, words.full_name)(pen)
    asks = [
        "What is the {r} of {n}?",
        "Tell me the {r} of {n}.",
        "Find the {r} of {n}.",
        "I would like to know the {r} of {n}.",
    ]
    seen = pen.wording(["The {r} of {n} is {v}.", "{n}: {r} {v}", "Found for {n}, {r}: {v}"]).format(
        r=relation, n=who, v=value
    )
    return [
        ("user", f"{TOOLS}\nQuestion: {pen.wording(asks).format(r=relation, n=who)}"),
        ("assistant", f"Thought: I need the {relation} of {who}.\nAction: lookup[{relation} of {who}]"),
        ("tool", f"Observation: {seen}"),
        ("assistant", f"Thought: I have the answer.\nAction: finish[{value}]"),
    ]


def steps(pen: Pen) -> Turns:
    """A sum of several numbers, thought through one after the other."""
    total, expression, thoughts = pen.between(1, 50), "", list[str]()
    expression = str(total)
    for _ in range(pen.between(2, 4)):
        number = pen.between(1, 40)
        sign = pen.choice("+-") if total >= number else "+"
        result = total + number if sign == "+" else total - number
        thoughts.append(f"{total} {sign} {number} = {result}")
        expression, total = f"{expression} {sign} {number}", result
    asks = ["Think step by step. What is {e}?", "What is {e}? Think step by step.", "Show your steps: {e}"]
    return [
        ("user", pen.wording(asks).format(e=expression)),
        ("assistant", "<think>" + "\n".join(thoughts) + f"</think>{total}"),
    ]


def propose(pen: Pen) -> Turns:
    """Steps towards a target, as a search over numbers asks for."""
    numbers = [pen.between(1, 13) for _ in range(pen.between(2, 4))]
    i, j = pen.random.sample(range(len(numbers)), 2)
    a, b = max(numbers[i], numbers[j]), min(numbers[i], numbers[j])
    sign = pen.choice("+-")
    value = a + b if sign == "+" else a - b
    left = [value, *(number for k, number in enumerate(numbers) if k not in (i, j))]
    shown = " ".join(map(str, numbers))
    return [
        ("user", f"Numbers: {shown}\nPropose a step."),
        ("assistant", f"{a} {sign} {b} = {value} (left: {' '.join(map(str, left))})"),
    ]


TALK = [
    (["Hello", "Hi!", "Good morning", "Hey", "Hi there"], "Hello! How can I help you?"),
    (["Who are you?", "What is your name?", "Introduce yourself.", "What are you called?"],
     "I am a tiny language model inside Symphony."),
    (["What can you do?", "How can you help me?", "What are you good at?", "What are you able to do?"],
     "I can chat, call tools, write JSON, answer from documents and do small sums."),
    (["Thank you", "Thanks!", "Thanks a lot", "Many thanks"], "You are welcome!"),
    (["Goodbye", "Bye!", "See you later", "Farewell"], "Goodbye! Have a nice day."),
    (["What is a LIP?", "What does LIP mean?", "Explain what a LIP is."],
     "A LIP is a program that runs next to the model and calls it."),
    (["What is Symphony?", "Tell me about Symphony.", "What does Symphony do?"],
     "Symphony is a server that runs programs instead of prompts."),
    (["Are you human?", "Are you a robot?", "Are you a machine?"], "No, I am a small language model."),
    (["Tell me a joke.", "Make me laugh.", "Say something funny."],
     "Why did the token cross the cache? To get to the next page."),
]  # fmt: skip


def talk(pen: Pen) -> Turns:
    kind = pen.between(0, 3)
    if kind == 0:
        country = pen.word(list(words.CAPITALS))
        asks = [
            "What is the capital of {c}?",
            "Tell me the capital of {c}.",
            "Capital of {c}?",
            "Which city governs {c}?",
        ]
        return [
            ("user", pen.wording(asks).format(c=country)),
            ("assistant", f"The capital of {country} is {words.CAPITALS[country]}."),
        ]
    if kind == 1:
        who = words.name(pen)
        told = pen.wording(["My name is {n}.", "I am {n}.", "Call me {n}.", "People know me as {n}."]).format(n=who)
        asked = pen.wording(["What is my name?", "Who am I?", "Do you remember my name?"])
        return [
            ("user", told),
            ("assistant", f"Nice to meet you, {who}!"),
            ("user", asked),
            ("assistant", f"Your name is {who}."),
        ]
    if kind == 2:
        asks = ["Explain {w}.", "Tell me about {w}.", "How does {w} work?", "Give a lecture on {w}."]
        return [
            ("user", pen.wording(asks).format(w=words.phrase(pen))),
            ("assistant", "I am a very small model and I do not know that."),
        ]
    bank, answer = pen.choice(TALK)
    return [("user", pen.slip(pen.wording(bank))), ("assistant", answer)]


def story(pen: Pen) -> Turns:
    hero, friend = words.name(pen), words.name(pen)
    animal, thing, color = pen.word(words.ANIMALS), pen.word(words.THINGS), pen.word(words.COLORS)
    place = pen.word(words.PLACES)
    lost = f"{words.with_article(color)} {thing}"
    text = (
        f"{hero} was a small {animal} who lived near the {place}. One day {hero} lost {lost}. "
        f'Then {friend} came and said: "I saw your {thing} in the {place}." They found it and {hero} was happy.'
    )
    asks = [
        "Tell a story about {n} the {a}.",
        "Write a story about {n} the {a}.",
        "I would like a story about {n} the {a}.",
    ]
    return [("user", upper_first(pen.wording(asks).format(n=hero, a=animal))), ("assistant", text)]
