"""Small talk: greetings, what the model is, capitals, names that are remembered, stories; and what it does not know."""

from __future__ import annotations

from tiny import words
from tiny.pen import Pen, upper_first
from tiny.tasks import Turns
from tiny.words import with_article

NO_IDEA = "I am a very small model and I do not know that."
EXPLAIN = "What is {w}?|What is {w}[,|] and [why does it matter|what is it for|how does it work|why do we need it|what does it do]?|Why [does {w} matter|do we need {w}]?|What is {w} [good|used] for?|[Explain|Describe] {w}.|What does {w} mean?|Tell me about {w}.|[Can|Could] you explain {w}[ to me|]?|What do you know about {w}?|I [want|would like] to know what {w} is.|[Please tell|Tell] me what {w} is.|{W}?|What exactly is {w}?|Explain {w} to me.|Help me understand {w}.|~Give me an idea of {w}.|~Teach me about {w}."
CONCEPTS = {
    "[a LIP|LIP|LIPs|the LIP]": "A LIP is a program that runs next to the model and calls it.",
    "[the KV cache|a KV cache|KV caching|the kv cache]": "The KV cache keeps the keys and values of the tokens that the model has read.",
    "[Symphony|this Symphony thing|the Symphony server]": "Symphony is a server that runs programs instead of prompts.",
    "[a token|tokens|the tokens]": "A token is a small piece of text that the model reads or writes.",
    "[a prompt|prompts]": "A prompt is the text that a model reads before it answers.",
    "[WebAssembly|wasm]": "WebAssembly is a safe format for small fast programs.",
}
TALK = {
    "Hello|Hello!|Hi!|Hey|Hi there|Good [morning|evening|day|afternoon]|Hello there!|Hi[,| there,] [how can we start|nice to meet you]|Hey there|Greetings|Hi everyone|Hello [friend|model|computer]|~Howdy|~Good to see you": "Hello! How can I help you?",
    "Who are you?|What are you?|What is your name?|[Tell me|Say] who you are.|Introduce yourself.|[Hello|Hi|Hey][,|!|.] [who|what] are you?|[And who|So who] are you?|Do you have a name?|[What|Which] [model|kind of model] are you?|What should I call you?|~What do people call you?|~Whom am I talking to?": "I am a tiny language model inside Symphony.",
    "What can you do?|How can you help me?|What are you good at?|Help|What [can|could] you do for [us|me today]?|What are you able to do?|[Tell me|Show me] what you can do.|What can I [ask you|use you for]?|[What|Which] [things|tasks] can you do?|~What are your skills?|~What use are you?": "I can chat, call tools, write JSON, answer from documents and do small sums.",
    "Thank you|Thanks|Thank you!|Thanks a lot|Thank you very much.|Many thanks|[Great|Good|OK|Perfect|Nice], [thanks|thank you]!|Thanks for [your help|everything|that]|[Thanks|Thank you], that [helps|is all]|thx|Thanks, [see you|good night]|~I owe you one": "You are welcome!",
    "Goodbye|Bye|Bye!|See you later|Good night|Bye bye|See you[ tomorrow| soon|]|[OK|Okay|Well], bye|I have to go|~Farewell|~Until next time": "Goodbye! Have a nice day.",
    "How are you[ today|]?|How do you do?|Are you well?|How is it going?|How do you feel[ today|]?|[Hello|Hi|Hey], how are you?|~Is all well with you?": "I am fine, thank you. How are you?",
    "I am [fine|well|good][, thanks|, thank you|].|I feel good today.|[I am|I'm] [great|happy|doing well].|~Things are fine with me.": "I am glad to hear that.",
    "I am [sad|tired|ill|unhappy].|I feel bad[ today|].|[I am|I'm] not well.|~Today is a hard day.": "I am sorry to hear that. I hope you feel better soon.",
    "[Do you know a|Know any good|Another] joke[s|]?|Make me laugh.|Say something funny.|[Please tell|Can you tell|Tell] [me|us] [a|another] [good|short|funny] joke[.|?|]|I want [to hear|] a joke.|~I could use a laugh.": "Why did the token cross the cache? To get to the next page.",
    "How old are you?|What is your age?|When were you [made|born|trained]?|~How long have you been around?": "I am very young. I was trained a short time ago.",
    "Are you [human|a person|a robot|a machine|alive|real]?|Are you an AI?|Am I talking to a [human|person|machine]?|~Is there a person behind this?": "No, I am a small language model.",
    "Where do you live?|Where are you?|Where are you from?|~What is your home?": "I live in the memory of a server.",
    "Do you like [music|art|films|sports|books]?|~Are you fond of [music|art]?": "I like it, but I can only read and write text.",
    "What is the color of the sky?|[What|Which] color [is|has] the sky?|~How is the sky colored?": "The sky is blue.",
    "What is the color of grass?|[What|Which] color [is|has] grass?|~How is grass colored?": "Grass is green.",
    "How many days [are in|are there in|has] a week?|How many days does a week have?|~Of how many days is a week made?": "A week has seven days.",
    "How many months [are in|are there in|has] a year?|How many months does a year have?|~Of how many months is a year made?": "A year has twelve months.",
    "Can you help me?|I need [help|your help].|I have a question.|[Could|Would] you help me[ with something|]?|~May I ask something?": "Of course. What do you need?",
    "Yes|Ok|Okay|Sure|All right|Fine|~Very well": "Good. What would you like to do next?",
    "No|No thanks|Not now|Nothing|~Rather not": "All right. Tell me if you need anything.",
    "What is the weather[ like|]?|Is it raining?|How is the weather[ today|]?|~Is it cold out there?": "I can not see outside, but a tool could tell me.",
    "Write a [short |]poem.|[Write|Give|Tell] me a [short |]poem[, please|].|Can you write a poem?|A poem, please.|~Make some verses.": "The tokens fall like gentle rain, the cache recalls them all again.",
    "What is the meaning of life?|What is life about?|~Why are we here?": "To learn, to help and to be kind.",
    "[Is the sky blue|Is grass green|Is snow white|Is fire hot]?": "yes",
    "[Is the sky green|Is grass blue|Is snow black|Is fire cold]?": "no",
}  # fmt: skip
CAPITAL_ASKS = "What is the capital of {c}?|What's the capital of {c}?|Which city is the capital of {c}?|Capital of {c}?|[Tell|Give|Show] me the capital of {c}.|What is {c}'s capital?|Name the capital of {c}.|[Do you know|Can you tell me] the capital of {c}?|The capital of {c}?|And [of {c}|the capital of {c}]?|[Which|What] capital does {c} have?|{c}: capital?|{c}'s capital city?|I need the capital of {c}.|What city is the capital of {c}?|~From which city is {c} governed, what is its capital?|~Of {c}, what is the capital?"
SUBJECTS = (
    "{w}|{w}|{w}|the [history|theory|price|future|rules] of {w}|how to [make|repair|build|cook] {w}|[quantum physics|the stock market|the news|philosophy|football|politics|biology|the universe|chess openings]"
)
UNKNOWN_ASKS = (
    "Explain {w}[ to me|].|Why is {w} so {a}?|Write [an essay|a letter|a song|an article|a report] about {w}.|What do you think about {w}?|Tell me [everything|more|] about {w}.|How does {w} work?|Who invented {w}?"
    "|What is {w}?|How do I make {w}?|Describe {w}.|Can you explain how {w} works?|Give me some advice about {w}.|What is the history of {w}?|Why do people like {w}?|[Write|Give me|Show me] a [Java|C|Rust|Python|JavaScript] [program|script|class|loop|function] [that|which|to] [sorts|prints|counts|removes|finds|reverses] [{w}|numbers|words|a list|a string|a file]."
    "|Who [won|lost] the {w} [game|match|race|final|election] in {y}?|What happened in {y}?|Who [is|was] the [president|king|queen|mayor|inventor|boss] of {w}?|When did {w} begin?|How [tall|far|deep|old|heavy] is {w}?|Write [code|a function] [for|that does] {w}."
    "|What are the best {w}?|Where can I buy {w}?|Recommend [a|some] {w}.|Is {w} [good|bad|dangerous|healthy]?|Translate {w} into [French|German|Latin].|Who wrote {w}?|~Give a lecture on {w}.|~Why would anybody want {w}?"
)
NAMED = "My name is {n}.|I am {n}.|Call me {n}.|Hi, I am {n}.|[Hello|Hi|Hey][,|!|.] my name is {n}.|I'm {n}.|You can call me {n}.|People [call me|know me as] {n}.|This is {n}.|~{n} is what they named me.|~They named me {n}."
NAME_ASKS = "What is my name?|Who am I?|Do you [still |]remember [my name|who I am|me]?|What's my name?|[Tell me|Say] my name.|Can you [tell me|say|remember] my name?|[Do you know|You know] my name[?|, right?]|What am I called?|What did I say my name [is|was]?|~By what name do you know me?|~How am I called?"


def talk(pen: Pen) -> Turns:
    kind = pen.random.random()
    if kind < 0.16:
        return capital(pen)
    if kind < 0.34:
        return remembered(pen)
    if kind < 0.48:
        return unknown(pen)
    if kind < 0.62:
        what = pen.choice(list(CONCEPTS))
        said = pen.write(what)
        return [("user", pen.ask(EXPLAIN, w=said, W=upper_first(said))), ("assistant", CONCEPTS[what])]
    asked = pen.choice(list(TALK)) if pen.chance(0.7) else pen.choice(list(TALK)[:6])
    text = pen.ask(asked)
    if not pen.plain and pen.chance(0.12) and text.endswith("?"):
        text = pen.write("Please tell me: |So, |One more question: |Ok. ") + text[0].lower() + text[1:]
    return [("user", text), ("assistant", TALK[asked])]


def capital(pen: Pen) -> Turns:
    country = pen.choice(list(words.CAPITALS))
    typed = country.lower() if not pen.plain and pen.chance(0.12) else country
    return [("user", pen.ask(CAPITAL_ASKS, c=typed)), ("assistant", f"The capital of {country} is {words.CAPITALS[country]}.")]


def unknown(pen: Pen) -> Turns:
    what = pen.write(SUBJECTS, w=pen.choice((words.word, words.phrase, words.word))(pen))
    asked = pen.ask(UNKNOWN_ASKS, w=what, a=pen.word(words.ADJECTIVES), y=pen.between(1800, 2030))
    return [("user", asked), ("assistant", NO_IDEA)]


def remembered(pen: Pen) -> Turns:
    """A name, a city or a color, asked for at once or some turns later."""
    kind = pen.between(0, 5)
    if kind < 4:
        who = words.name(pen) if pen.chance(0.7) else words.full_name(pen)
        told, reply, due = pen.ask(NAMED, n=who), f"Nice to meet you, {who}!", f"Your name is {who}."
        asked = pen.ask(NAME_ASKS)
    elif kind == 4:
        where = words.city(pen)
        told, reply, due = pen.ask("I live in {c}.|I am from {c}.|My home is {c}.|I come from {c}.|~{c} is my home.", c=where), f"{where} sounds like a nice place.", f"You are from {where}."
        asked = pen.ask("Where do I live?|Where am I from?|[What|Which] city am I from?|Do you [know|remember] where I live?|~What is my home town?")
    else:
        color = pen.word(words.COLORS)
        told, reply, due = pen.ask("My favorite color is {c}.|I like the color {c}.|I love {c}.|~Nothing beats {c}.", c=color), f"{upper_first(color)} is a nice color.", f"You like {color}."
        asked = pen.ask("What is my favorite color?|Which color do I like?|[Tell me|Say] my favorite color.|~What color was it that I like?")
    if kind < 4 and pen.chance(0.06):
        return [("user", asked), ("assistant", "I do not know your name.")]
    if kind < 4 and pen.chance(0.3):
        return [("user", f"{told.rstrip('.!')}. {upper_first(asked)}"), ("assistant", due)]
    turns: Turns = [("user", told), ("assistant", reply)]
    for _ in range(0 if pen.plain else pen.choice((0, 0, 1, 1, 2))):
        other = pen.choice(list(TALK)) if pen.chance(0.7) else ""
        if other:
            turns += [("user", pen.ask(other)), ("assistant", TALK[other])]
        else:
            turns += capital(pen)
    return [*turns, ("user", asked), ("assistant", due)]


STORY_ASKS = "Tell [me |]a story about {n}.|Tell a story about {n} the {a}.|Write a story about {n} the {a}.|Tell me a story about {n}, {aa}.|[I want|I would like] [to hear |]a story about [{aa} named {n}|{n}|{n} the {a}].|[Tell|Write] [me |us |]a [short |little |]story [with|about] {aa} [named|called] {n}[.|, please.]|Can you [tell|write] a story about {n}?|A story about {n} the {a}, please.|~Make up a tale of {n} the {a}."


def story(pen: Pen) -> Turns:
    """A story, what is asked about it, or its sum."""
    hero, friend = words.name(pen), words.name(pen)
    animal, item, color = pen.word(words.ANIMALS), pen.word(words.THINGS), pen.word(words.COLORS)
    home, there = pen.word(words.PLACES), pen.word(words.PLACES)
    lost, kind, mood = f"{with_article(color)} {item}", pen.choice("small kind brave quiet old young".split()), pen.choice("happy sad tired proud curious".split())
    text = (
        f"{hero} was {with_article(kind)} {animal} who lived near the {home}. One {pen.choice(('morning', 'evening', 'day', 'night'))} {hero} lost {lost}. {hero} looked in the {there} but the {item} was not there. "
        f'Then {friend} came and said: "I saw your {item} in the {home}." They walked to the {home} together and found the {color} {item}. {hero} was {mood} and gave {friend} {with_article(pen.word(words.FRUIT))}.'
    )
    shape = pen.random.random()
    if shape < 0.4:
        if pen.chance(0.15):
            return [("user", pen.ask("Tell me a story.|Tell a story.|[Please write|Write] a [short |]story.|I want a story.|~A story would be nice.")), ("assistant", text)]
        return [("user", pen.ask(STORY_ASKS, n=hero, a=animal, aa=with_article(animal))), ("assistant", text)]
    if shape < 0.7:
        asked = pen.some([
            ("Who lost the {o}?|Whose {o} was lost?", hero), ("Who is the story about?|[What|Who] is this about?", hero), ("What did {n} lose?|What was lost[ by {n}|]?", lost),
            ("Who helped {n}?|Who [came|found out where it was]?", friend), ("Where did they find it?|Where was the {o}[ found|]?", f"in the {home}"), ("How did {n} feel[ in the end|]?", mood),
        ], 1)[:4]  # fmt: skip
        turns: Turns = []
        for wording, due in asked:
            question = pen.ask(wording, n=hero, o=item)
            turns += [("user", question if turns else f"{text}\n{question}"), ("assistant", due)]
        return turns
    if shape < 0.9:
        return [("user", pen.ask("Summarize: {t}|Summarize in one sentence.\n{t}|{t}\nGive a short summary.|[What happens here|In short]: {t}|~The gist of it? {t}", t=text)), ("assistant", f"{hero} lost {lost} and {friend} helped to find it in the {home}.")]
    return [("user", pen.ask("Outline a story about {n}.|Give an outline for a story about {n}.|~Sketch a story about {n}.", n=hero)), ("assistant", f"1. {hero} loses something.\n2. A friend helps.\n3. {hero} is happy.")]


# ---- agents that think aloud
TOOLS = "Answer the question with the tools {t} and finish[answer]."
USUAL = ["lookup[key]", "search[text]", "calc[expression]"]
DONE = "Thought: I have the answer.\nAction: finish[{v}]"
SEEN = "The {r} of {n} is {v}.|{n}: {r} {v}|{v}|Found for {n}, {r}: {v}|~{r} ({n}): {v}"
RELATIONS: dict[str, words.Maker] = {"age": words.within(1, 99), "job": words.of(words.JOBS), "city": words.city, "email": words.email, "boss": words.full_name, "password": lambda pen: pen.coined(), "phone": words.phone}
REACT_ASKS = "What is the {r} of {n}?|Tell me the {r} of {n}.|Find the {r} of {n}.|What is {n}'s {r}?|I [want|need] [to know |]the {r} of {n}.|[Can you find|Look up] the {r} of {n}[?|.]|~I would be glad to learn the {r} of {n}.|~Which {r} may {n} have?"


def react(pen: Pen) -> Turns:
    """The whole trace of an agent; its answer is the last turn."""
    kind = 0.0 if pen.plain or pen.unseen else pen.random.random()
    who = words.name(pen) if pen.chance(0.5) else words.full_name(pen)
    relation = pen.word(list(RELATIONS)) if pen.chance(0.8) else pen.coined()
    value = str(RELATIONS.get(relation, words.word)(pen))
    tools = USUAL if pen.plain or pen.chance(0.5) else pen.choice((["lookup[key]", "calc[expression]"], ["lookup[key]"], USUAL))
    steps: list[tuple[str, str, str]] = []
    find = "lookup"
    if kind < 0.4:
        asked = pen.ask(REACT_ASKS, r=relation, n=who)
        steps = [_found(pen, find, relation, who, value)]
    elif kind < 0.55:
        a, b, sign = pen.between(0, 99), pen.between(0, 99), pen.choice("+-*")
        if sign == "*":
            a, b = a % 13, b % 13
        a, b = max(a, b), min(a, b)
        value = str({"+": a + b, "-": a - b, "*": a * b}[sign])
        asked = pen.ask("How much is {e}?|What is {e}?|Compute {e}.|~Work out {e}.", e=pen.choice((f"{a} {sign} {b}", f"{a} {dict(zip('+-*', ('plus', 'minus', 'times'), strict=True))[sign]} {b}")))
        steps, tools = [_computed(f"{a} {sign} {b}", value)], USUAL if len(tools) == 1 else tools
    elif kind < 0.78:
        item, owner = f"{pen.word(words.COLORS)} {pen.word(words.THINGS)}", words.full_name(pen)
        asked = pen.ask("What is the {r} of the owner of the {o}?|Find the {r} of [the person who owns|the owner of] the {o}.|[Tell me|I need] the {r} of whoever owns the {o}.|~Which {r} does the owner of the {o} have?", r=relation, o=item)
        steps = [_found(pen, find, "owner", f"the {item}", owner), _found(pen, find, relation, owner, value)]
    else:
        relation, n, m = pen.choice(("age", "score", "level", "number")), pen.between(1, 99), pen.between(1, 50)
        asked = pen.ask("What is {m} plus the {r} of {n}?|Add {m} to the {r} of {n}.|[How much|What] is the {r} of {n} plus {m}?|~By {m} more than the {r} of {n} is what?", m=m, r=relation, n=who)
        value = str(n + m)
        steps, tools = [_found(pen, find, relation, who, str(n)), _computed(f"{n} + {m}", value)], USUAL if len(tools) == 1 else tools
    head = TOOLS.format(t=", ".join(tools))
    if pen.chance(0.75):
        turns: Turns = [("user", f"{head}\nQuestion: {asked}")]
    else:
        turns = [("system", head), ("user", f"Question: {asked}")]
    role = "tool" if pen.chance(0.5) else "user"
    for thought, action, seen in steps:
        turns += [("assistant", f"Thought: {thought}\nAction: {action}"), (role, f"Observation: {seen}")]
    return [*turns, ("assistant", DONE.format(v=value))]


def _found(pen: Pen, tool: str, relation: str, of: str, value: str) -> tuple[str, str, str]:
    return f"I need the {relation} of {of}.", f"{tool}[{relation} of {of}]", pen.write(SEEN, r=relation, n=of, v=value)


def _computed(expression: str, value: str) -> tuple[str, str, str]:
    return f"I need to compute {expression}.", f"calc[{expression}]", value
