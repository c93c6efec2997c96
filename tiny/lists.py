"""Lists and text: turned round, counted, sorted, formed; a class for a text; sequences. It knows nothing of documents."""

from __future__ import annotations

from tiny import words
from tiny.pen import Pen, upper_first
from tiny.tasks import Turns
from tiny.words import as_json

ORDINALS = "first second third fourth fifth".split()
LIST = "[this list|these [words|items]|the list|the [items|words]]"


def _items(pen: Pen) -> list[str]:
    return [words.word(pen) for _ in range(pen.between(2, 8))]


def lists(pen: Pen) -> Turns:
    """One thing done to a list of words."""
    items = _items(pen)
    operations = {
        f"Reverse: {{s}}|Reverse the list {{s}}|[Reverse|Turn round|Flip] {LIST}: {{s}}|Give {LIST} [backwards|in reverse order|from the end]: {{s}}|{{s}}\n[Reverse this.|Backwards, please.|In reverse.]"
        f"|[Write|Say|Put] {LIST} in reverse[ order|]: {{s}}|~From the last to the first: {{s}}|~Turn the order around: {{s}}": ", ".join(items[::-1]),
        f"Count: {{s}}|How many items? {{s}}|How many [items|words|things|entries] [are|do you see] in {LIST}[:|?] {{s}}|Count {LIST}: {{s}}|How long is {LIST}? {{s}}|{{s}}\nHow many are [there|these]?"
        f"|[What is the|Tell me the] [number|length] of {LIST}: {{s}}|~Say how many of them there are: {{s}}": str(len(items)),
        f"First: {{s}}|What is the first item of {{s}}?|First [item|word]: {{s}}|[What|Which] is the first [item|word] in {LIST}? {{s}}|[Give|Show] me the first of {{s}}|~With what does it begin? {{s}}": items[0],
        f"Last: {{s}}|What is the last item of {{s}}?|Last [item|word]: {{s}}|[What|Which] is the last [item|word] in {LIST}? {{s}}|[Give|Show] me the last of {{s}}|~With what does it end? {{s}}": items[-1],
        f"As a JSON list: {{s}}|Make a JSON list: {{s}}|{{s}}\nas JSON|[Write|Put|Turn] {LIST} [as|into] [a JSON array|a JSON list|JSON]: {{s}}|JSON array of {{s}}|~Form a JSON array out of {{s}}": as_json(items),
        f"Make a bullet list: {{s}}|Bullets: {{s}}|[Write|Put|Turn] {LIST} [as|into] [a bullet list|bullet points|bullets]: {{s}}|Bullet points[:| for| from] {{s}}|{{s}}\n[As a bullet list.|With bullets, please.]"
        "|[Create|Give me|Make|Write] a [bullet|bulleted] list [from|for|with|of][:|] {s}|~One bullet for each of {s}": "\n".join(f"- {item}" for item in items),
    }  # fmt: skip
    wording = pen.choice(list(operations))
    between = pen.choice((", ", ", ", ", ", ", ", " and ")) if len(items) == 2 else ", "
    return [("user", pen.ask(wording, s=between.join(items))), ("assistant", operations[wording])]


def more_lists(pen: Pen) -> Turns:
    """Other things that are done to lists."""
    numbers = pen.chance(0.3)
    items = [str(pen.between(0, 99)) for _ in range(pen.between(2, 7))] if numbers else _items(pen)
    at = pen.between(0, len(items) - 1)
    shown = ", ".join(items)
    kind = pen.between(0, 11)
    if kind == 0:
        return [("user", pen.ask("Repeat: {s}|Repeat this list: {s}|Copy: {s}|Say exactly: {s}|Repeat this list word by word: {s}.|[Write|Say] this again: {s}|~Echo: {s}", s=shown)), ("assistant", shown)]
    if kind == 1:
        i = pen.between(0, min(4, len(items) - 1))
        ask = pen.ask("What is the {o} [item|word]? {s}|Item {n}: {s}|[Give|Tell] me the {o} [item|word|one] of {s}|Which one is number {n}? {s}|~Of these, the {o}: {s}", o=ORDINALS[i], n=i + 1, s=shown)
        return [("user", ask), ("assistant", items[i])]
    if kind == 2:
        ask = pen.ask("Remove {w}: {s}|Remove {w} from {s}|[Leave out|Delete|Take out] {w}[:| from] {s}|~Without {w}: {s}", w=items[at], s=shown)
        left = [item for item in items if item != items[at]]
        return [("user", ask), ("assistant", ", ".join(left) or "none")]
    if kind == 3:
        new = words.word(pen)
        ask = pen.ask("Add {w}: {s}|Add {w} to the end of {s}|[Append|Put] {w} [to|behind] {s}|~With {w} in the end: {s}", w=new, s=shown)
        return [("user", ask), ("assistant", f"{shown}, {new}")]
    if kind == 4:
        if pen.chance(0.4):
            items = [item for item in pen.some(list(words.CAPITALS), 2)][:6]
            shown = ", ".join(items)
        ask = pen.ask("Number the items: {s}|Make a numbered list[: | of ]{s}|[Write|Turn] this [as|into] a numbered list: {s}|~Give each a number: {s}", s=shown)
        return [("user", ask), ("assistant", "\n".join(f"{n}. {item}" for n, item in enumerate(items, 1)))]
    if kind == 5:
        wanted = items[at] if pen.chance(0.5) else words.word(pen)
        ask = pen.ask("Is {w} in the list? {s}|Does [this|the] list contain {w}? {s}|[Can you find|Do you see] {w} [in|among] {s}?|{s}\nIs {w} [one of them|there]?|~Would {w} be one of {s}?", w=wanted, s=shown)
        return [("user", ask), ("assistant", "yes" if wanted in items else "no")]
    if kind == 6:
        numbers = list(map(int, items)) if numbers else [pen.between(0, pen.choice((9, 99, 99, 999))) for _ in range(pen.between(2, 6))]
        shown = ", ".join(map(str, numbers))
        low = pen.chance(0.4)
        ask = pen.ask("[Largest|Biggest|Highest] number: {s}|What is the [biggest|largest|highest] number? {s}|Max of {s}|Which [number|one] is the [largest|greatest|biggest]: {s}|~The top of {s}" if not low else
                      "[Smallest|Lowest] number: {s}|What is the [smallest|lowest] number? {s}|Min of {s}|Which [number|one] is the [smallest|lowest]: {s}|~The bottom of {s}", s=shown)  # fmt: skip
        return [("user", ask), ("assistant", str(min(numbers) if low else max(numbers)))]
    if kind == 7:
        join, sign = pen.choice((("dashes", "-"), ("spaces", " "), ("slashes", "/"), ("semicolons", "; "), ("plus signs", "+")))
        return [("user", pen.ask("Join with {j}: {s}|[Join|Connect|Put together] {s} with {j}|~Between these put {j}: {s}", j=join, s=shown)), ("assistant", sign.join(items))]
    if kind == 8:
        i = pen.between(1, len(items))
        ask = pen.ask("Take the first {i}: {s}|First {i} items of {s}|[Give|Show] me the first {i} of {s}|~Only {i} from the front: {s}", i=i, s=shown)
        return [("user", ask), ("assistant", ", ".join(items[:i]))]
    return _sorted(pen)


def _sorted(pen: Pen) -> Turns:
    down = pen.chance(0.25)
    if pen.chance(0.7):
        most = pen.choice((9, 20, 99, 99, 999))
        numbers = [pen.between(0, most) for _ in range(pen.between(2, 7))]
        shown, due, what = ", ".join(map(str, numbers)), ", ".join(map(str, sorted(numbers, reverse=down))), "numbers"
    else:
        items = [pen.choice("abcdefghijklmnopqrstuvwxyz")[0] + pen.coined(1) for _ in range(pen.between(2, 5))]
        shown, due, what = ", ".join(items), ", ".join(sorted(items, reverse=down)), "words"
    how = "[in descending order|from high to low|downwards|from the largest down]" if down else "[in ascending order|from low to high|in order|upwards|from small to large]"
    if what == "words":
        how = "[in reverse alphabetical order|from z to a]" if down else "[alphabetically|in alphabetical order|from a to z]"
    plain = "" if down else "Sort: {s}|Sort [this|these|the list]: {s}|[Sort|Order|Please sort] [these|the|my|all] {x}: {s}|Please sort {s}|"
    ask = pen.ask(plain + f"Sort [these {what} |the {what} |]{how}: {{s}}|[Put|Arrange|Order|Write] [these|the] {what} {how}: {{s}}|{{s}}\nSort [them|this] {how}.|~Bring [these|the] {what} {how}: {{s}}", s=shown, x=what)
    return [("user", ask), ("assistant", due)]


CASES = {
    "upper": ("[Upper case|Uppercase|Capital letters]: {w}|[Write|Put|Say|Give me|Turn] {w} in[to|] [upper case|uppercase|capital letters|capitals|all caps]|Make {w} upper case|Uppercase {w}|Shout {w}.|~Let {w} be written large",),
    "lower": ("[Lower case|Lowercase|Small letters]: {w}|[Write|Put|Say|Give me|Turn] {w} in[to|] [lower case|lowercase|small letters]|Make {w} lower case|Lowercase {w}|~Let {w} be written small",),
}  # fmt: skip


def text_operations(pen: Pen) -> Turns:
    """What is done to a word or a few."""
    word = words.word(pen) if pen.chance(0.7) else words.phrase(pen)
    kind = pen.between(0, 9)
    if kind < 2:
        lower = kind == 1
        given = word.upper() if lower else word
        ask = pen.ask(CASES["lower" if lower else "upper"][0] + "", w=given)
        return [("user", ask), ("assistant", given.lower() if lower else given.upper())]
    if kind == 2:
        first, second = words.word(pen), words.word(pen)
        down, up = first.upper(), second
        one, two = pen.choice(("lower case", "lowercase", "small letters")), pen.choice(("upper case", "uppercase", "capital letters"))
        if pen.chance(0.5):
            ask, due = pen.ask("[Write|Put|Say] {a} in {x} and {b} in {y}[.|]|{a} in {x}, {b} in {y}[, please|]", a=down, b=up, x=one, y=two), f"{first} {second.upper()}"
        else:
            ask, due = pen.ask("[Write|Put|Say] {b} in {y} and {a} in {x}[.|]|{b} in {y}, {a} in {x}[, please|]", a=down, b=up, x=one, y=two), f"{second.upper()} {first}"
        return [("user", ask), ("assistant", due)]
    word = word.split()[0]
    if kind == 3:
        ask = pen.ask("Spell {w}.|How do you spell {w}?|Letters of {w}|[What are|List] the letters of {w}[?|.]|[Please spell|Can you spell] {w}|~Letter by letter: {w}", w=word)
        return [("user", ask), ("assistant", " ".join(word))]
    if kind == 4:
        return [("user", pen.ask("Capitalize: {w}|Capitalize the word {w}|[Write|Put] {w} with a capital letter|~Give {w} a large first letter", w=word)), ("assistant", upper_first(word))]
    if kind == 5:
        word = word[:6]
        ask = pen.ask("Reverse the word {w}.|[Write|Spell] {w} backwards.|Reverse {w}|What is {w} backwards?|~Read {w} from the right", w=word)
        return [("user", ask), ("assistant", word[::-1])]
    if kind == 6:
        first = pen.chance(0.6)
        where = "first" if first else "last"
        ask = pen.ask("[What is the|Which is the|Tell me the|Give me the|Say the] {o} letter of {w}[?|.]|{O} letter of {w}|[What letter|Which letter] does {w} {v} with?|~{w}: its {o} letter, please",
                      o=where, O=upper_first(where), w=word, v="start" if first else "end")  # fmt: skip
        return [("user", ask), ("assistant", word[0] if first else word[-1])]
    if kind == 7:
        text = " ".join([words.word(pen) for _ in range(pen.between(2, 8))])
        ask = pen.ask("[Repeat after me|Say this|Echo|Repeat|Copy]: {t}|[Say|Write] [exactly this|the following|this again]: {t}|~Give back what I write: {t}", t=text)
        return [("user", ask), ("assistant", text)]
    if kind == 8:
        times = pen.between(2, 5)
        spoken = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}[times]
        return [("user", pen.ask("[Say|Write|Repeat] {w} {n}.|[Say|Write] [the word |]{w} {n}[, please|]|~I want to see {w} {n}", w=word, n=pen.choice((spoken, f"{times} times")))), ("assistant", " ".join([word] * times))]
    old, new = words.word(pen), words.word(pen)
    text = [words.word(pen) for _ in range(pen.between(3, 7))]
    text[pen.between(0, len(text) - 1)] = old
    ask = pen.ask("Replace {o} with {n}: {t}|[Change|Turn|Swap] {o} [to|for|into] {n} in: {t}|[Put|Write] {n} instead of {o}: {t}|~Wherever it says {o}, let it say {n}: {t}", o=old, n=new, t=" ".join(text))
    return [("user", ask), ("assistant", " ".join(new if each == old else each for each in text))]


GOOD = (
    "great good wonderful lovely excellent nice perfect amazing beautiful fantastic superb brilliant delicious helpful friendly comfortable reliable pleasant delightful charming"
).split()
BAD = "bad terrible awful poor horrible ugly boring broken disappointing rude useless dirty slow cold noisy faulty dreadful annoying overpriced weak".split()
PRAISE = (
    "The {o} was {w}.|What a {w} {o}!|I think the {o} is {w}.|This {o} is really {w}.|We had a {w} {o} last {d}.|{W} {o}, [I would buy it again|thank you|five stars|highly recommended]."
    "|I loved [the|this|every minute of the] {o}.|[We|I] really enjoyed the {o}.|I am [so |very |]happy with [the|my] {o}.|I would [buy|choose|recommend] [this|the] {o} again[ and again|]."
    "|I like [the|this] {o} [very much|a lot|so much].|It works [well|perfectly] and [the {o}|it] made me smile.|[Best|Finest] {o} [ever|I have ever had].|The {o} still works after [a year|years]."
    "|[Everybody|My family] loves the {o}.|[Worth every cent|Great value|Money well spent].|The {o} [arrived|came] [early|on time] and [works|fits] perfectly.|~I could not ask for a better {o}."
    "|~The {o} has made my days brighter."
)
BLAME = (
    "The {o} was {w}.|What a {w} {o}!|I think the {o} is {w}.|This {o} is really {w}.|We had a {w} {o} last {d}.|{W} {o}, [never again|do not buy it|one star|avoid it]."
    "|I hated [the|this|every minute of the] {o}.|I am [so |very |]angry about the {o}.|I want my money back for the {o}.|I do not like [the|this] {o}[ at all|].|It failed and the {o} made me cry."
    "|[Never|Do not] buy [this|the] {o}[ again|].|[Worst|Poorest] {o} [ever|I have ever had].|The {o} [broke|stopped working|fell apart|failed|died] after [a week|one day|two days|an hour|a month][, what a waste|]."
    "|[Waste|What a waste] of [money|time].|The {o} [arrived|came] [late|damaged|broken] and nobody [helped|answered].|[Nobody|None of us] likes the {o}.|The {o} never worked[, very sad|]."
    "|I [sent|gave] the {o} back.|~My {o} lasted no longer than a candle.|~I regret that I ever saw this {o}."
)
SENTIMENTS = (
    "Sentiment: {t}|Is this positive or negative? {t}|Classify the sentiment.\n{t}|[Is|Was] [this|the following] [text|comment|opinion|message|review|feedback] positive or negative? {t}"
    "|{t}\n[Positive or negative?|Is that positive or negative?]|[What is the|Tell me the] sentiment[?| of this:|:] {t}|Is the [mood|tone] of this [text|review] positive or negative? \"{t}\""
    "|Positive or negative[:|?] \"{t}\"|~Does this one sound positive or negative? {t}|~Judge the mood: {t}"
)
ROUTES = {
    "math": "What is {a} + {b}?|How much is {a} minus {b}?|Compute {a} * {b}.",
    "weather": "What is the weather in {c}?|Is it raining in {c}?|Do I need an umbrella in {c}?|How warm is it in {c}?",
    "email": "Write to {e}.|Send a mail to {e}.|Email {e} about {w}.",
    "chat": "Hello!|How are you?|Tell me a joke, please.|Good morning|Thanks!|Who are you?",
}


def classify(pen: Pen) -> Turns:
    """A class for a text."""
    if pen.chance(0.7):
        good = pen.chance(0.5)
        word = pen.word(GOOD if good else BAD)
        item = pen.choice((words.THINGS, words.FOOD, words.PLACES, words.NOUNS))
        text = pen.write(PRAISE if good else BLAME, o=pen.word(item) if pen.chance(0.8) else pen.coined(), w=word, W=upper_first(word), d=pen.choice(words.DAYS))
        text = words.articles(text)
        if pen.chance(0.3):
            text += " " + pen.write(PRAISE if good else BLAME, o=pen.word(item), w=word, W=upper_first(word), d=pen.choice(words.DAYS))
        return [("user", pen.ask(SENTIMENTS, t=text)), ("assistant", "positive" if good else "negative")]
    label = pen.choice(list(ROUTES))
    text = pen.write(ROUTES[label], a=words.number(pen), b=words.number(pen), c=words.city(pen), e=words.email(pen), w=words.word(pen))
    ask = pen.ask("Route this request to math, weather, email or chat.\n{t}|Classes: math, weather, email, chat\nText: {t}\nClass:|Classify as math, weather, email or chat: {t}|~Which one, math, weather, email or chat? {t}", t=text)
    return [("user", ask), ("assistant", label)]


def sequence(pen: Pen) -> Turns:
    """Numbers in a row, days, months, letters."""
    kind = pen.between(0, 8)
    if kind < 3:
        a = pen.between(0, 50) if pen.chance(0.6) else 1
        b = a + pen.between(2, 30)
        return [("user", pen.ask("Count from {a} to {b}.|List the numbers from {a} to {b}.|Numbers {a} to {b}|[Write|Give me] [the|all] numbers from {a} to {b}.|~Go up from {a} to {b}.", a=a, b=b)), ("assistant", ", ".join(map(str, range(a, b + 1))))]
    if kind == 3:
        a = pen.between(5, 30)
        return [("user", pen.ask("Count down from {a}.|Count backwards from {a} to 0.|Countdown from {a}|~Go down from {a} to 0.", a=a)), ("assistant", ", ".join(map(str, range(a, -1, -1))))]
    if kind == 4:
        d, n = pen.choice((2, 3, 5, 10)), pen.between(3, 10)
        return [("user", pen.ask("List the first {n} multiples of {d}.|[Give me|What are] {n} multiples of {d}[?|.]", n=n, d=d)), ("assistant", ", ".join(str(d * i) for i in range(1, n + 1)))]
    if kind == 5:
        which = pen.choice((("the days of the week", words.DAYS), ("the months of the year", words.MONTHS)))
        return [("user", pen.ask("List {w}.|What are {w}?|[Name|Tell me|Give me] {w}.|~Go through {w}.", w=which[0])), ("assistant", ", ".join(which[1]))]
    if kind == 6:
        return [("user", pen.ask("Write the alphabet.|List the letters of the alphabet.|[Say|Show me] the alphabet.|~All letters, please.")), ("assistant", " ".join("abcdefghijklmnopqrstuvwxyz"))]
    row, what = pen.choice(((words.DAYS, "day"), (words.MONTHS, "month")))
    at, after = pen.between(0, len(row) - 1), pen.chance(0.5)
    ask = pen.ask("Which {w} [comes|is] {o} {x}?|What {w} [comes|is] {o} {x}?|[Name|Tell me] the {w} {o} {x}.|~The {w} right {o} {x}?", w=what, o="after" if after else "before", x=row[at])
    return [("user", ask), ("assistant", row[(at + (1 if after else -1)) % len(row)])]


def pick(pen: Pen) -> Turns:
    """The best of several by their scores."""
    size = pen.between(2, 5)
    scores = pen.random.sample(range(100), size)
    lines = "\n".join(f"{'ABCDE'[i]}) {words.word(pen)} (score {score})" for i, score in enumerate(scores))
    ask = pen.ask("Pick the best.|Which option has the highest score?|Choose the winner.|[Which one|What] is [the|] best?|~Who comes out on top?")
    return [("user", f"{ask}\n{lines}"), ("assistant", "ABCDE"[scores.index(max(scores))])]
