"""Sentences that tell something, each with what can be asked of it: events, and what things are like.

An event is who did what, perhaps where and when: in some tense and voice, its parts in some order. The rest are
statements about a person, a place, a thing or a firm, each with its own wordings. It knows nothing of documents.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiny.pen import Pen, upper_first
from tiny.words import (
    ADJECTIVES, COLORS, DAYS, FOOD, JOBS, MONTHS, PLACES, THINGS, Maker, anything, articles, city, clock, code, company, email,
    full_name, key, name, number, of, phrase, price, with_article, within, word,
)  # fmt: skip

Key = tuple[object, ...]


@dataclass(slots=True, frozen=True)
class Question:
    """`key` is the same for whatever else would answer it too."""

    key: Key
    wording: str
    answer: str


@dataclass(slots=True, frozen=True)
class Told:
    """A sentence, and what one may ask; the values are those of its wordings."""

    text: str
    questions: list[Question]
    values: dict[str, object]

    def asked(self, pen: Pen, question: Question) -> str:
        return pen.ask(question.wording, **self.values)


def _verbs(text: str) -> list[tuple[str, str, str]]:
    """Base, past, participle: `write/wrote/written`, `find/found`, `clean`."""
    found: list[tuple[str, str, str]] = []
    for word in text.split():
        base, *forms = word.split("/")
        past = forms[0] if forms else base + ("d" if base.endswith("e") else "ed")
        found.append((base, past, forms[1] if len(forms) > 1 else past))
    return found


ACTIONS = _verbs(
    "use store build/built find/found sell/sold buy/bought paint repair visit clean open close lose/lost steal/stole/stolen "
    "carry/carried design write/wrote/written read/read send/sent receive invent discover break/broke/broken cook plant "
    "hide/hid/hidden keep/kept move test check load start stop/stopped compile deploy publish record measure teach/taught "
    "train follow help call win/won drop/dropped catch/caught hold/held drive/drove/driven print update remove copy/copied "
    "share watch choose/chose/chosen order cut/cut draw/drew/drawn protect manage lead/led support wash burn count sign "
    "deliver bring/brought throw/threw/thrown see/saw/seen show/showed/shown make/made film collect explain finish hire "
    "rent borrow lend/lent feed/fed forget/forgot/forgotten fix investigate create lift push pull fill empty/emptied"
)
WHO = (
    "Who {past} {what}?|[Tell me|Say|I want to know|Do you know] who {past} {what}.|Which person {past} {what}?|Who was it that {past} {what}?"
    "|By whom was {what} {done}?|{What} was {done} by whom?|Who is the one [who|that] {past} {what}?|[And who|So who] {past} {what}?"
    "|~Name the person who {past} {what}.|~Whose work is it that {what} was {done}?|~Can you tell me by whom {what} got {done}?"
)
WHAT = (
    "What did {who} {base}?|What was {done} by {who}?|Which thing did {who} {base}?|What was it that {who} {past}?|[Tell me|Say] what {who} {past}."
    "|What has {who} {done}?|~Name the thing that {who} {past}.|~Can you tell me what it was {who} {past}?"
)
WHERE = (
    "Where did {who} {base} {what}?|Where was {what} {done}?|[Tell me|Say] where {who} {past} {what}.|In [which|what] place did {who} {base} {what}?"
    "|Where was it that {who} {past} {what}?|~In which spot was {what} {done} by {who}?|~What is the place where {who} {past} {what}?"
)
WHEN = (
    "When did {who} {base} {what}?|When was {what} {done}?|[Tell me|Say] when {who} {past} {what}.|When was {what} {done} by {who}?"
    "|When was it that {who} {past} {what}?|~At what time was {what} {done} by {who}?|~Can you tell me when it was that {who} {past} {what}?"
)
SHAPES = (
    "{who} {past} {what}{where}{when}.|{who} {past} {what}{adverb}{where}{when}.|{What} was {done} by {who}{where}{when}."
    "|{what} was {done}{where}{when} by {who}.|[It was|I think it was] {who} who {past} {what}{where}{when}."
    "|{who} is the one who {past} {what}{where}{when}.|{who} [quickly|again|once more|slowly|~bravely] {past} {what}{where}{when}.|{who}, {aside}, {past} {what}{where}{when}."
    "|[We heard|They say|It seems|The report says|Everybody knows|I know] that {who} {past} {what}{where}{when}."
    "|As far as I know, {who} {past} {what}{where}{when}.|{who} {other} and {past} {what}{where}{when}.|{When}{who} {past} {what}{where}.|{What}, {aside2}, was {done} by {who}{where}{when}."
    "|~There is no doubt that {who} {past} {what}{where}{when}.|~The one by whom {what} was {done}{where}{when} is {who}."
    "|~What happened was that {who} {past} {what}{where}{when}."
)


def _thing(pen: Pen) -> str:
    kind = pen.random.random()
    if kind < 0.55:
        return f"the {pen.word(ADJECTIVES) if kind < 0.3 else pen.word(COLORS)} {word(pen)}"
    return f"the {word(pen)} {word(pen)}" if kind < 0.8 else f"the {word(pen)}" if kind < 0.9 else f"{with_article(pen.coined())} {word(pen)}"


def _who(pen: Pen) -> str:
    kind = pen.random.random()
    if kind < 0.75:
        return name(pen) if kind < 0.45 else full_name(pen)
    return company(pen) if kind < 0.9 else f"the {pen.word(JOBS)}"


def event(pen: Pen, action: tuple[str, str, str] | None = None) -> Told:
    """Who did what, perhaps where and when; `action`: that they did."""
    base, past, done = action or pen.word(ACTIONS)
    who, what = _who(pen), _thing(pen)
    where = f"in {city(pen)}" if pen.chance(0.3) else f"in the {pen.word(PLACES)}" if pen.chance(0.4) else ""
    when = pen.choice((f"in {pen.between(1900, 2035)}", f"on {pen.choice(DAYS)}", f"in {pen.choice(MONTHS)}", f"at {clock(pen)}")) if pen.chance(0.5) else ""
    values: dict[str, object] = {"who": who, "what": what, "What": upper_first(what), "base": base, "past": past, "done": done}
    text = pen.write(
        "{who} {past} {what}{where}{when}." if pen.plain or pen.chance(0.3) else SHAPES,
        **values,
        where=f" {where}" if where else "",
        when=f" {when}" if when else "",
        When=f"{upper_first(when)}{pen.choice((', ', ' '))}" if when else "",
        adverb=pen.write(" [quickly|again|at once|with care|without help|once more|slowly|for the first time|~bit by bit]"),
        aside=pen.write("who [is a {j}|comes from {c}|was tired|likes {f}]|[a|the] {j} from {c}", j=pen.word(JOBS), c=city(pen), f=pen.word(FOOD)),
        aside2=pen.write("which [was old|nobody had seen|is {k}]|of course", k=pen.word(COLORS)),
        other=pen.write("[came|went|returned] to {c}|[needed|wanted|liked|missed] {a}|was [happy|tired|late]", c=city(pen), a=with_article(pen.word(THINGS))),
    )  # fmt: skip
    text = articles(upper_first(text))
    questions = [Question((past, what), WHO, who), Question((who, past), WHAT, what)]
    if where:
        questions.append(Question((who, past, what, "where"), WHERE, where))
    if when:
        questions.append(Question((who, past, what, "when"), WHEN, when))
    return Told(text, questions, values)


@dataclass(slots=True, frozen=True)
class Relation:
    """Statements, questions and the answer, with the makers of what they name; `of` are those that decide."""

    says: str
    asks: str
    answer: str
    of: str
    makers: dict[str, Maker]


def _color_thing(pen: Pen) -> str:
    return f"{pen.word(COLORS if pen.chance(0.7) else ADJECTIVES)} {pen.word(THINGS) if pen.chance(0.8) else word(pen)}"


def _proper(pen: Pen) -> str:
    return upper_first(pen.coined())


RELATIONS = [
    Relation("The capital of {a} is {b}.|{b} is the capital of {a}.|{a} has {b} as its capital.|~{a} is governed from {b}, its capital.",
             "What is the capital of {a}?|Which city is the capital of {a}?|[Name|Tell me] the capital of {a}.|~What is the name of {a}'s capital?",
             "{b}", "a", {"a": _proper, "b": city}),
    Relation("{a} was born in {b}.|The birthplace of {a} is {b}.|{b} is where {a} was born.|~{a} is a native of {b}.",
             "Where was {a} born?|In which city was {a} born?|What is the birthplace of {a}?|~Which city did {a} come into the world in?",
             "{b}", "a", {"a": name, "b": city}),
    Relation("{a} owns the {b}.|The {b} belongs to {a}.|The {b} is owned by {a}.|The owner of the {b} is {a}.|~The {b} is the property of {a}.",
             "Who owns the {b}?|Who is the owner of the {b}?|[To whom|Whom] does the {b} belong[ to|]?|Whose is the {b}?|Which person has the {b}?"
             "|~Whose property is the {b}?", "{a}", "b", {"a": name, "b": _color_thing}),
    Relation("{a} owns the {b}.|The {b} belongs to {a}.|{a} has the {b}.|~In the possession of {a} is the {b}.",
             "What does {a} own?|Which thing belongs to {a}?|What belongs to {a}?|~What is in the possession of {a}?", "the {b}", "a", {"a": name, "b": _color_thing}),
    Relation("The {b} is in the {p}.|You can find the {b} in the {p}.|In the {p} there is the {b}.|We keep the {b} in the {p}.|~The {b} was put away in the {p}.",
             "Where is the {b}?|Where can [I|we] find the {b}?|Where [do we|do you] keep the {b}?|In which place is the {b}?|~What is the place of the {b}?",
             "in the {p}", "b", {"b": _color_thing, "p": of(PLACES)}),
    Relation("{a} works as a {j}.|{a} is a {j}.|The job of {a} is {j}.|{a} earns a living as a {j}.|~By profession {a} is a {j}.",
             "What is the job of {a}?|What does {a} do for a living?|What does {a} work as?|~What is {a} by profession?|~What is {a}'s profession?", "{j}", "a",
             {"a": full_name, "j": of(JOBS)}),
    Relation("The password of {a} is {x}.|{a} uses the password {x}.|{a} logs in with {x}.|~The secret word that {a} types is {x}.",
             "What is the password of {a}?|Which password does {a} use?|What is {a}'s password?|~With which secret word does {a} log in?", "{x}", "a",
             {"a": name, "x": lambda pen: pen.coined() if pen.chance(0.5) else code(pen)}),
    Relation("{a} likes {f}.|The favorite food of {a} is {f}.|{a} loves to eat {f}.|~Nothing makes {a} as happy as {f}.",
             "What does {a} like?|What is the favorite food of {a}?|What does {a} love to eat?|~Which food is {a} fond of?", "{f}", "a", {"a": name, "f": of(FOOD)}),
    Relation("{a} met {b} in {y}.|In {y}, {a} met {b}.|{a} and {b} met in {y}.|~The year in which {a} met {b} was {y}.",
             "When did {a} meet {b}?|In which year did {a} meet {b}?|[In what|What] year did {a} and {b} meet?|~Since when does {a} know {b}?", "{y}", "ab",
             {"a": name, "b": name, "y": within(1900, 2035)}),
    Relation("The {a} [{p}|] [opens|starts|begins] at {h}.|[Opening time|Opening hour] of the {a} {p}: {h}.|The doors of the {a} {p} open at {h}.|~At {h} they unlock the {a} {p}.",
             "When does the {a} {p} open?|At what time does the {a} {p} open?|What time does the {a} {p} open?|~From when on is the {a} {p} open?", "{h}", "ap",
             {"a": _proper, "p": of(PLACES), "h": clock}),
    Relation("The {p} [opens|closes|shuts] at {h}.|At {h} the {p} [opens|closes].|The {p} is open from {h} on.|~They unlock the {p} at {h}.",
             "{q}", "{h}", "p", {"p": of(PLACES), "h": clock}),
    Relation("The price of the {b} is {n}.|The {b} costs {n} [dollars|euros].|The {b} is sold for {n} [dollars|euros].|You pay {n} for the {b}.|~For {n} [dollars|euros] the {b} is yours.",
             "How much is the {b}?|What is the price of the {b}?|[How much|What] does the {b} cost?|~What do I have to pay for the {b}?", "{n}", "b",
             {"b": _color_thing, "n": price}),
    Relation("{a} was founded by {b} in {y}.|{b} founded {a} in {y}.|In {y} {b} started {a}.|The founder of {a} is {b}.|~It was in {y} that {b} brought {a} to life.",
             "Who founded {a}?|Who is the founder of {a}?|By whom was {a} founded?|Who [started|set up] {a}?|~Whose idea was {a}?|~Who brought {a} to life?", "{b}", "a",
             {"a": company, "b": full_name, "y": within(1800, 2030)}),
    Relation("{a} was founded by {b} in {y}.|{b} founded {a} in {y}.|{a} was started in {y}, by {b}.|~{a} goes back to {y}, when {b} founded it.",
             "When was {a} founded?|In which year was {a} founded?|When did {b} found {a}?|~How far back does {a} go?", "{y}", "ya",
             {"a": company, "b": full_name, "y": within(1800, 2030)}),
    Relation("{a} has {n} employees.|There are {n} people working at {a}.|{a} employs {n} people.|~{n} people are on the payroll of {a}.",
             "How many employees does {a} have?|How many people work [at|for] {a}?|~How large is the staff of {a}?", "{n}", "a", {"a": company, "n": number}),
    Relation("The error code {x} means {w}.|{x} stands for {w}.|If you see {x}, it means {w}.|~By {x} the machine says: {w}.",
             "What does the error code {x} mean?|What does {x} [mean|stand for]?|What is the meaning of {x}?|~How do I read {x}?", "{w}", "x", {"x": code, "w": phrase}),
    Relation("The {b} module is maintained by {a}.|{a} maintains the {b} module.|{a} is responsible for the {b} module.|~The {b} module is in the care of {a}.",
             "Who maintains the {b} module?|Who is responsible for the {b} module?|~Who takes care of the {b} module?", "{a}", "b", {"a": full_name, "b": lambda pen: pen.coined()}),
    Relation("The email of {a} is {e}.|Write to {a} at {e}.|You can reach {a} at {e}.|~Letters to {a} go to {e}.",
             "What is the email of {a}?|How can I reach {a}?|What is {a}'s email address?|~Where do I write to {a}?", "{e}", "a", {"a": full_name, "e": email}),
    Relation("The {w} setting is {v} by default.|By default, {w} is set to {v}.|The default of {w} is {v}.|~Unless you change it, {w} is {v}.",
             "What is the default of {w}?|What is {w} set to by default?|Which default does {w} have?|~What is {w} unless I change it?", "{v}", "w", {"w": key, "v": anything}),
    Relation("The {w} is {v}.|Our {w} is {v}.|We set the {w} to {v}.|~For the {w} we took {v}.",
             "What is the {w}?|[Tell me|Give me] the {w}.|Which {w} [do we have|is it]?|~What did we take for the {w}?", "{v}", "w", {"w": word, "v": anything}),
    Relation("{a} moved to {b} in {y}.|In {y} {a} moved to {b}.|{a} has lived in {b} since {y}.|~{y} was the year when {a} went off to {b}.",
             "Where did {a} move[ in {y}|]?|To which city did {a} move?|~What is the city that {a} went off to?", "{b}", "a",
             {"a": name, "b": city, "y": within(1950, 2035)}),
    Relation("The {b} is made of {w}.|{w} is what the {b} is made of.|Somebody made the {b} of {w}.|~It takes {w} to make the {b}.",
             "What is the {b} made of?|Of what is the {b} made?|~Which material is the {b} made from?", "{w}", "b", {"b": _color_thing, "w": word}),
    Relation("{a} is stored in {b}.|{a} is kept in {b}.|We store {a} in {b}.|{b} is where {a} is stored.|~{a} has its place in {b}.",
             "Where is {a} stored?|Where do we store {a}?|In what is {a} stored?|~Where does {a} have its place?", "in {b}", "a", {"a": key, "b": key}),
    Relation("{a} is {n} years old.|The age of {a} is {n}.|{a} turned {n}.|~{a} has seen {n} summers.",
             "How old is {a}?|What is the age of {a}?|What is {a}'s age?|~How many years has {a} lived?", "{n}", "a", {"a": full_name, "n": within(1, 99)}),
]  # fmt: skip
HOURS = {"opens": "open", "closes": "close", "shuts": "shut"}


def statement(pen: Pen, index: int | None = None) -> Told:
    """What something is like; `index`: of that relation."""
    index = int(pen.random.random() * len(RELATIONS)) if index is None else index
    relation = RELATIONS[index]
    values: dict[str, object] = {key: make(pen) for key, make in relation.makers.items()}
    text = articles(upper_first(pen.write(relation.says, **values)))
    asks = relation.asks
    if asks == "{q}":
        verb = next((base for said, base in HOURS.items() if said in text), "open")
        asks = f"When does the {{p}} {verb}?|[At what time|What time] does the {{p}} {verb}?|~From which hour on is the {{p}} to {verb}?"
    question = Question((index, *(values[key] for key in relation.of if key in values)), asks, relation.answer.format_map(values))
    return Told(text, [question], values)


def several(pen: Pen, count: int) -> list[Told]:
    """Of all kinds, or most of one, so that what differs is what they name."""
    kind = 0.0 if pen.plain else pen.random.random()
    action, index = (pen.word(ACTIONS), None) if kind > 0.85 else (None, int(pen.random.random() * len(RELATIONS)))
    alike = 0.7 if kind > 0.7 else 0.0
    found: list[Told] = []
    for _ in range(count):
        if pen.chance(alike):
            found.append(event(pen, action) if action else statement(pen, index))
        else:
            found.append(told(pen))
    return found


def told(pen: Pen) -> Told:
    return event(pen) if pen.chance(0.55) else statement(pen)
