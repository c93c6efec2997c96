"""Records, and text that tells them: things with fields, each field with the ways in which it is said.

A description names its thing once or in every sentence; fields are told by verb phrases, by what stands beside a name
(`aged 31`), by their labels (`whose port is 80`, `Port: 80`), in any order and any number of sentences. It knows
nothing of what is asked about a text.
"""

from __future__ import annotations

from dataclasses import dataclass

from tiny.facts import event
from tiny.pen import Pen, upper_first
from tiny.words import (
    ANIMALS, COLORS, FOOD, JOBS, LANGUAGES, MONTHS, PLACES, Maker, Value, amount, any_of, anything, articles, as_list, city,
    clock, code, company, date, email, full_name, key, last_name, name, number, of, person, phone, phrase, price, thing, title,
    within, word,
)  # fmt: skip

MONEY = "[euros|dollars|pounds|francs|~yen]"


@dataclass(slots=True, frozen=True)
class Field:
    """`says`: verb phrases behind the thing; `beside`: what stands beside its name, if there is something."""

    make: Maker
    says: str
    beside: str = ""


FIELDS = {
    "age": Field(within(1, 99), "is {v}|is {v} years [old|of age]|[turned|has turned|has just turned|will soon be] {v}"
                 "|[reached|~arrived at] the age of {v}|~has lived for {v} years", "aged {v}|{v}|{v} years old"),
    "city": Field(city, "[lives|now lives|stays|grew up|was born|is at home|~dwells] in {v}|[comes|is] from {v}"
                  "|[has moved|moved|~went off] to {v}|calls {v} home|~settled down in {v}", "from {v}|living in {v}"),
    "job": Field(of(JOBS), "[works|earns a living|has worked for years|~is known] as [a|the] {v}|is a {v} by trade"
                 "|[is employed|has a job|was hired|~makes money] as a {v}", "the {v}|working as a {v}|~by trade a {v}"),
    "email": Field(email, "[has|uses|gave us] the [email|address|mail] {v}|[can be reached|is reachable|answers] at {v}"
                   "|reads mail sent to {v}|~wants letters to go to {v}", "email {v}|<{v}>"),
    "phone": Field(phone, "has the [phone number|number|telephone] {v}|[can be called|called|may be rung up] [at|from|on]"
                   " {v}|~picks up when you dial {v}", "phone {v}|tel. {v}"),
    "company": Field(company, "works [for|at] {v}|is [employed|hired] by {v}|[speaks for|is with|joined|left] {v}"
                     "|~is on the payroll of {v}", "of {v}|from {v}|at {v}"),
    "hobby": Field(of("chess tennis golf yoga sailing fishing dancing hiking reading running boxing skiing".split()),
                   "[likes|loves|enjoys|is fond of|spends weekends with|~lives for] {v}|has {v} as a hobby", "a fan of {v}"),
    "birthday": Field(date, "was born on {v}|has a birthday on {v}|celebrates on {v}|~came into the world on {v}", "born {v}"),
    "item": Field(thing, "is [for|about] [a|the] {v}|asks for a {v}|[consists of|contains] a {v}|~comprises a {v}", "for a {v}"),
    "quantity": Field(within(1, 99), "has a quantity of {v}|is about {v} pieces|comes to {v} [units|items]|~counts {v} pieces",
                      "quantity {v}|{v} pieces"),
    "price": Field(price, f"costs {{v}} {MONEY}|costs ${{v}}|is [sold|on sale|offered|listed] [for|at] {{v}} {MONEY}"
                   f"|has a price of {{v}}|~can be had for {{v}} {MONEY}", f"priced at {{v}}|for {{v}} {MONEY}|at ${{v}}"),
    "color": Field(of(COLORS), "is {v}|[was painted|comes in|is painted] {v}|has a {v} [color|coat|finish]|~shines in {v}",
                   "in {v}|color {v}"),
    "customer": Field(full_name, "[was placed|was made|was requested|~was handed in] by {v}|[is|was] for {v}|[belongs to|comes from] {v}",
                      "for {v}|from {v}|customer {v}"),
    "date": Field(date, "is [dated|from|of] {v}|[was written|was issued|was made|was sent] on {v}|[bears|carries|has] the date {v}"
                  "|~goes back to {v}", "of {v}|dated {v}"),
    "due_date": Field(date, "is due [on|by] {v}|must be [paid|settled] by {v}|~has to be dealt with until {v}", "due {v}"),
    "total": Field(amount, f"[has a total of|comes to|amounts to|asks for|is over|is for|adds up to|~runs to] {{v}} {MONEY}"
                   "|totals [${v}|{v}]", f"total {{v}} {MONEY}|over ${{v}}"),
    "issuer": Field(company, "[was sent|was issued|was written|came in|~was drawn up] by {v}|[comes|is|arrived] from {v}", "from {v}|by {v}"),
    "from": Field(city, "[starts|takes off|begins|sets out] in {v}|[leaves|departs from|comes from] {v}|~says goodbye to {v}", "from {v}"),
    "to": Field(city, "[goes|flies|travels|is going|runs] to {v}|[lands|ends|arrives] in {v}|is bound for {v}|~heads for {v}", "to {v}"),
    "gate": Field(code, "[is|boards|waits|can be found] at gate {v}|uses gate {v}|~lets people in at gate {v}", "gate {v}|at gate {v}"),
    "time": Field(clock, "[leaves|departs|starts|begins|is due] at {v}|is [planned|set|scheduled] for {v}|~gets going at {v}", "at {v}"),
    "nights": Field(within(1, 30), "stays [for|] {v} nights|[booked|reserved|paid] {v} nights|~will sleep here {v} times", "{v} nights"),
    "hotel": Field(lambda pen: f"Hotel {last_name(pen)}", "[stays|sleeps|booked a room|checked in] [at|in] {v}|~is a guest of {v}",
                   "at {v}|in {v}"),
    "room": Field(lambda pen: pen.between(1, 999), "[is|takes place|can be found] in room {v}|has room {v}|~occupies room {v}", "room {v}|in room {v}"),
    "author": Field(full_name, "[was written|is|was authored|~was penned] by {v}|is [a|the] work of {v}|has {v} as its author", "by {v}"),
    "director": Field(full_name, "was [directed|made|shot|filmed] by {v}|is a work of {v}|~had {v} behind the camera", "by {v}"),
    "year": Field(within(1900, 2030), "[appeared|came out|was made|was published|is] [in|from] {v}|dates from {v}|~saw the light of day in {v}",
                  "of {v}|from {v}|({v})"),
    "pages": Field(within(20, 999), "[has|counts|fills] {v} pages|is {v} pages long|~runs over {v} pages", "{v} pages"),
    "rating": Field(lambda pen: amount(pen) % 10, "[has|got|received] a [rating|score] of {v}|[is|was] rated {v}|~earned {v} points", "rated {v}"),
    "minutes": Field(within(2, 240), "[takes|lasts|needs] {v} minutes|is [done|over|ready] after {v} minutes|~keeps you busy for {v} minutes",
                     "{v} minutes"),
    "temperature": Field(within(-20, 99), "[shows|measures|reports|reads] {v} degrees|is [at|as warm as] {v} degrees|~says that it is {v} degrees", "{v} degrees"),
    "battery": Field(within(1, 100), "has {v} percent [left|of battery]|[is charged|has a charge] [to|of] {v} percent|~is down to {v} percent",
                     "battery {v} percent"),
    "status": Field(any_of("up", "down", "idle", "busy", "failed", "ready", "open", "closed", "pending"), "is [now|currently|still|] {v}"
                    "|has the status {v}|[reports|says|was reported] that it is {v}|~counts as {v}", "status {v}"),
    "port": Field(within(1, 65535), "[listens|answers|runs|waits] on port {v}|[uses|opens] port {v}|~can be talked to at port {v}", "port {v}"),
    "ip": Field(lambda pen: ".".join([str(pen.between(0, 255)) for _ in range(4)]), "has the [address|ip] {v}|[is|sits] at {v}|~resolves to {v}",
                "at {v}|ip {v}"),
    "species": Field(of(ANIMALS), "is a {v}|is [a kind of|one more] {v}|belongs to the {v} family|~turned out to be a {v}", "a {v}|the {v}"),
    "owner": Field(full_name, "[belongs to|is owned by|lives with|~is kept by] {v}|has {v} as its owner|~is in the hands of {v}",
                   "owned by {v}|of {v}"),
    "servings": Field(within(1, 12), "[serves|feeds|is enough for] {v} [people|guests]|makes {v} servings|~fills {v} hungry people", "for {v} people"),
    "organizer": Field(full_name, "is [organized|led|hosted|called|chaired] by {v}|~has {v} at its head", "with {v}|by {v}"),
    "weight": Field(amount, "weighs {v} [kilos|kilograms|kg|pounds]|has a weight of {v}|~brings {v} kilos to the scales", "weighing {v} kg|of {v} kg"),
    "sender": Field(full_name, "[was sent|was mailed|was posted|~was dropped off] by {v}|[comes|is|came] from {v}", "from {v}|sent by {v}"),
    "recipient": Field(full_name, "[is|was addressed|goes|will go] to {v}|is [meant|intended] for {v}|~awaits {v} at the other end", "for {v}|to {v}"),
    "brand": Field(company, "is [made|built|produced] by {v}|is a {v}|~left a factory of {v}", "by {v}|made by {v}"),
    "place": Field(lambda pen: pen.word(PLACES), "[takes place|is held|happens|will be] in the {v}|~brings people into the {v}", "in the {v}"),
    "rooms": Field(within(1, 12), "has {v} rooms|[comes with|offers|consists of] {v} rooms|~is divided into {v} rooms", "with {v} rooms"),
    "rent": Field(within(200, 4000), f"is [rented|let] for {{v}} {MONEY}|has a rent of {{v}}|~asks {{v}} {MONEY} of its tenants", "rent {v}"),
    "stars": Field(within(1, 5), "[got|has|received|was given] {v} [stars|of 5 stars]|~deserves {v} stars", "{v} stars"),
    "product": Field(thing, "is about [the|a] {v}|[concerns|is for] the {v}|~deals with a {v}", "about the {v}"),
    "priority": Field(any_of("low", "medium", "high", "urgent"), "[has|was given|is of] {v} priority|has the priority {v}|~ranks as {v}",
                      "priority {v}|{v} priority"),
    "subject": Field(of("math history biology chemistry physics music art law latin sports".split()), "[studies|takes|learns|is good at] {v}"
                     "|~sits in classes of {v}", "a student of {v}"),
    "grade": Field(any_of("A", "B", "C", "D", "A+", "B-"), "[got|has|earned|received] [the grade|the mark] {v}|~went home with a {v}", "grade {v}"),
    "language": Field(of(LANGUAGES), "is [written|printed|told] in {v}|[is|appeared|can be had] in {v}|~makes use of {v}", "in {v}"),
    "dish": Field(of(FOOD), "[ordered|asked for|wants|eats] [the|some] {v}|~will dine on {v}", "with {v}"),
    "guests": Field(within(1, 20), "[comes|is coming] with {v} guests|[booked|wants] a table for {v}|~brings {v} friends along", "party of {v}"),
    "month": Field(of(MONTHS), "[is|will be] [planned|due|held] in {v}|~falls into {v}", "in {v}"),
    "humidity": Field(within(5, 99), "has {v} percent humidity|has a humidity of {v} percent|~has {v} percent of water in its air", "humidity {v}"),
    "employees": Field(within(2, 9999), "[employs|has] {v} [people|employees|workers]|~pays {v} workers", "with {v} employees"),
    "founder": Field(full_name, "was [founded|started|set up|~brought to life] by {v}|has {v} as its founder", "founded by {v}"),
    "tag": Field(word, "is [tagged|marked|labeled|filed under] {v}|~bears the sticker {v}", "tag {v}"),
    "score": Field(number, "[scored|has|got|reached] {v} points|has a score of {v}|~collected {v} points", "score {v}"),
}  # fmt: skip
SUBJECTS: dict[str, tuple[Maker, str]] = {
    "product": (thing, "The {v}|This {v}"), "city": (city, "{v}"),
    "name": (person, "{v}"), "order_id": (code, "[Order|The order|Our order] {v}|~The purchase {v}"),
    "invoice_number": (code, "[Invoice|The invoice|Your invoice|Bill] {v}"), "flight": (code, "[Flight|The flight|Plane] {v}"),
    "guest": (full_name, "{v}|[Our guest|The guest] {v}"), "title": (title, "{v}|\"{v}\"|[The book|The novel|The film] {v}"),
    "sensor": (key, "[Sensor|The sensor] {v}"), "host": (key, "[The host|Host|Server|The server|Machine] {v}"),
    "pet": (name, "{v}|Little {v}"), "recipe": (lambda pen: title(pen).lower(), "[The|Our] {v}|[The recipe|Recipe] {v}"),
    "meeting": (title, "[The meeting|Meeting|Our meeting] {v}|{v}"), "tracking_number": (code, "[Parcel|The parcel|Package|Shipment] {v}"),
    "car": (code, "[The car|Car|The vehicle] {v}"), "event": (title, "[The event|Our event] {v}|{v}"),
    "address": (lambda pen: f"{pen.between(1, 199)} {last_name(pen)} Street", "[The house|The flat|The house at] {v}|{v}"),
    "ticket_id": (code, "[Ticket|The ticket|Case|Issue] {v}"), "student": (full_name, "{v}|[The student|Our student] {v}"),
    "company": (company, "{v}|[The company|The firm] {v}"), "train": (code, "[Train|The train] {v}"),
    "document": (code, "[Document|The document|File] {v}"), "player": (name, "{v}|[The player|Player] {v}"),
}  # fmt: skip
KINDS = [kind.split() for kind in (
    "name age city job hobby", "name company phone email", "name age birthday city phone", "name email city job company",
    "order_id item quantity price customer date", "order_id color item status customer", "invoice_number issuer total date due_date",
    "flight from to gate time", "train from to time price", "guest hotel nights room city", "title author year pages language",
    "title director year rating minutes", "sensor temperature battery status place", "host ip port status", "pet species age owner color",
    "recipe minutes servings price", "meeting date time room organizer", "tracking_number weight sender recipient status",
    "car brand color year price owner", "event date time place price", "address rooms rent owner city",
    "ticket_id customer product priority status", "student subject grade age email", "company founder employees city year",
    "document author date pages tag", "player score age city", "guest dish guests time phone", "event month place organizer",
    "product stars author", "city temperature humidity",
)]  # fmt: skip
WHOLE = {
    "name age city job": "My name is {name}[. I am|, I am] {age}[ years old|], [live|and I live] in {city} and work as a {job}.|{name} ({age}), {job}, {city}"
    "|In {city} we met {name}, {age}, [who is a|a] {job}.|~A {job} of {age} years, {name}, opened the door to us in {city}.",
    "name phone email": "[You can reach|Call|Contact] {name} at {phone} or [write to|] {email}.|[Reach|Find|Mail|You get] {name} [at|under] {email} or [at |call |]{phone}.|Regards,\n{name}\n[Phone|Tel]: {phone}\n[Email|Mail]: {email}"
    "|[Please write|Write] to {email} or [call|ring] {phone} [and ask for|to talk to] {name}.|[Reach|Mail] me at {email} or {phone}. {name}"
    "|~For questions {name} is there for you by mail ({email}) and by phone ({phone}).",
    "quantity color item price": "[We sold|I want|Please send|I would like to order] {quantity} {color} {item}s [at|for] {price} [dollars|euros] each."
    "|{quantity} x {item} ({color}), {price}|~Put {quantity} of those {color} {item}s into a box, at {price} dollars.",
    "invoice_number company total date": "[Invoice|Bill] {invoice_number} from {company}[, total| over| has a total of] {total} [euros|dollars][, dated| and is dated|, of] {date}."
    "|{company} sent [us|] [invoice|bill] {invoice_number} on {date}. [The total is|We owe them|Total:] {total}.|[Please pay|Pay] {total} to {company} for invoice {invoice_number} of {date}."
    "|~On {date} {company} asked us to transfer {total} for bill {invoice_number}.",
    "flight from to time gate": "[Flight|] {flight} from {from} to {to} leaves at {time}[ from|,] gate {gate}.|At {time} {flight} [leaves|takes off from] {from} for {to}, gate {gate}."
    "|Gate {gate}: {flight} {from} - {to}, {time}|~Whoever wants to get from {from} to {to} takes {flight} at {time}, gate {gate}.",
    "stars product author": "{author} gave the {product} {stars} stars.|{stars} [stars|of 5 stars] for the {product}, [says|writes] {author}.|~According to {author} the {product} is worth {stars} stars.",
    "invoice_number company total due_date": "[Invoice|Bill] {invoice_number} from {company}, [total|sum|amount] {total} [euros|dollars], [due|due on|to be paid by] {due_date}.|{company}: [invoice|bill] {invoice_number} over {total}, due {due_date}.|~{company} gives us time until {due_date} to settle {total} of {invoice_number}.",
    "host ip port status": "{host} {ip}:{port} {status}|Server {host} at {ip}:{port} is {status}.|~You find {host} at {ip}, port {port}; it is {status}.",
    "name age city": "{name} is {age} years old and lives in {city}.|{name}, {age}, [of|from] {city}|~{city} is where {name} lives, who is {age}.",
    "event date time place": "[Join us for|Come to] {event} on {date} at {time} in the {place}.|{event}: {date}, {time}, {place}|~See you in the {place} at {time} on {date} for {event}.",
}  # fmt: skip
ALIASES = {
    "name": "full_name person", "city": "town location home", "job": "profession occupation", "email": "mail email_address",
    "phone": "phone_number tel", "company": "organization employer firm", "price": "cost amount", "quantity": "count qty",
    "customer": "client buyer", "date": "day", "total": "sum total_amount amount", "from": "origin departure", "to": "destination arrival",
    "time": "start start_time", "author": "writer", "status": "state", "product": "item article", "place": "location venue",
    "age": "years", "temperature": "degrees", "year": "published", "title": "name", "item": "product article", "issuer": "company sender",
}  # fmt: skip
MAKERS: dict[str, Maker] = {label: field.make for label, field in FIELDS.items()} | {s: m for s, (m, _) in SUBJECTS.items()}
LINKS = "{label} {v}|the {label} {v}|{label}: {v}|{label} = {v}"
EXTRA = (
    "It was a nice day.|Thank you for your help.|Nothing else changed.|The report was written later.|That is all for now."
    "|Please let me know if you need more.|More details will follow.|[See you|Bye] soon!|Hello everybody.|[Good|Sad] news today."
    "|I hope you are well.|~So much for that.|~We will keep you posted."
)
Record = dict[str, Value]


def record(pen: Pen) -> tuple[Record, str]:
    """A thing's fields, and text that tells all of them."""
    kind = pen.random.random()
    if kind < (1.0 if pen.plain else 0.2):
        labels = pen.choice(list(WHOLE))
        fields = {label: MAKERS[label](pen) for label in labels.split()}
        return fields, pen.write(WHOLE[labels], **fields)
    if kind < 0.45:
        return listed(pen)
    labels = pen.choice(KINDS)
    subject, *others = labels[0], *pen.some(labels[1:], 2)
    make, shown = SUBJECTS[subject]
    fields = {subject: make(pen), **{label: FIELDS[label].make(pen) for label in others}}
    return fields, described(pen, subject, pen.write(shown, v=fields[subject]), fields)


def described(pen: Pen, subject: str, shown: str, fields: Record) -> str:
    """Sentences that tell all fields of a thing that is called `shown`."""
    pronoun = pen.choice(("He", "She")) if subject in ("name", "guest", "student", "player") else "It"
    relative = "which" if pronoun == "It" else "who"
    told = pen.shuffled([label for label in fields if label != subject])
    beside: list[str] = []
    if pen.chance(0.5):
        while told and len(beside) < 2 and FIELDS[told[0]].beside and pen.chance(0.6):
            label = told.pop(0)
            beside.append(pen.write(FIELDS[label].beside, v=fields[label]))
    clauses = [_clause(pen, label, fields[label]) for label in told]
    head = f"{shown}, {', '.join(beside)}," if beside and pen.chance(0.6) else f"{shown} ({', '.join(beside)})" if beside else shown
    if not clauses:
        return head.rstrip(",") + "."
    shape = pen.between(0, 4)
    if len(clauses) == 1 or shape == 0:
        text = f"{head} {as_list(clauses, pen.choice((' and ', ', and ', ' but ')))}."
    elif shape == 1 and not beside:
        text = f"{shown}, {relative} {clauses[0]}, {as_list(clauses[1:])}."
    elif shape == 2:
        text = f"{head} {clauses[0]}. " + " ".join(
            f"{pen.choice((pronoun, pronoun, shown))} {pen.choice(('', '', 'also '))}{clause}." for clause in clauses[1:]
        )
    elif shape == 3:
        text = pen.write("There is|We know of|Meet|This is|I want to tell you about|~Let us talk about")
        text += f" {shown[0].lower() + shown[1:] if shown.startswith(('The ', 'Our ')) else shown}, {relative} {as_list(clauses)}."
        if beside:
            text += f" ({', '.join(beside)})"
    else:
        cut = pen.between(1, len(clauses) - 1)
        text = f"{head} {as_list(clauses[:cut])}. {pronoun} {as_list(clauses[cut:])}."
    return _surrounded(pen, upper_first(text))


def _clause(pen: Pen, label: str, value: Value) -> str:
    """A verb phrase for a field: one of its own, or one with its label, or with a verb that is none."""
    kind = pen.random.random()
    if kind < 0.12:
        return pen.write("has the {label} {v}|has {v} as {label}|with {v} for {label} is known to us|~is listed with the {label} {v}",
                         label=label.replace("_", " "), v=value)  # fmt: skip
    if kind < 0.2 and isinstance(value, str) and ("@" in value or ":" in value or label in ("city", "job", "date", "phone")):
        link = {"job": "as a", "date": "on"}.get(label, "at" if label in ("time", "email", "phone") else "in")
        return f"{pen.coined()}{pen.choice(('ed', 's'))} {link} {value}"
    text = pen.write(FIELDS[label].says, v=value)
    if pen.chance(0.08):
        text += pen.write(" [again|now|for sure|by the way|as far as I know|of course|as always|~once more]")
    return articles(text) if label in ("job", "item", "species", "product") else text


def _surrounded(pen: Pen, text: str) -> str:
    """With a sentence or two that have nothing to do with it."""
    if pen.plain or pen.chance(0.6):
        return text
    other = pen.write(EXTRA) if pen.chance(0.5) else event(pen).text
    return f"{text} {other}" if pen.chance(0.5) else f"{other} {text}"


def listed(pen: Pen) -> tuple[Record, str]:
    """Fields with their labels: those of a kind, or any, with names that nobody has seen."""
    if pen.chance(0.4):
        labels = pen.some(pen.choice(KINDS), 2)
        fields: Record = {label: MAKERS[label](pen) for label in labels}
    else:
        fields = {key(pen): anything(pen) for _ in range(pen.between(2, 5))}
    shown = {label.replace("_", " ") if label in MAKERS and pen.chance(0.7) else label: value for label, value in fields.items()}
    kind = pen.between(0, 8)
    if kind < 3:
        start, between, end = (("", ": ", "\n"), ("", " = ", "\n"), ("- ", ": ", "\n"))[kind]
        lines = [f"{start}{upper_first(label) if pen.chance(0.3) else label}{between}{value}" for label, value in shown.items()]
        return fields, end.join(lines)
    if kind == 3:
        return fields, pen.choice(("; ", ", ", " | ")).join([f"{label}{pen.choice((': ', ' '))}{value}" for label, value in shown.items()])
    noun = pen.choice((word, company, name, phrase))(pen)
    one = pen.write("The {l} is {v}.|The {l} [of|for] {n} is {v}.|{n} has the {l} {v}.|We set the {l} to {v}.|{v} is the {l} [of {n}|].|Its {l} is {v}."
                    "|[Note|Write down] the {l} {v}.|~As {l} we have {v}.|~The {l} was found to be {v}.",
                    l="{l}", v="{v}", n=noun)  # fmt: skip
    if kind < 7:
        return fields, " ".join([upper_first(one.format(l=label, v=value)) for label, value in shown.items()])
    links = pen.choice(("with {l} {v}", "whose {l} is {v}", "with a {l} of {v}", "where the {l} is {v}", "that has {l} {v}"))
    parts = as_list([links.format(l=label, v=value) for label, value in shown.items()])
    parts = articles(parts)
    return fields, pen.write("We [saw|found|have|bought|met|know] {n} {p}.|{n}, {p}|[Here|There] is {n} {p}.|~They told us of {n} {p}.", n=noun, p=parts)


def renamed(pen: Pen, label: str) -> str:
    """A key that somebody may ask for instead of a label."""
    return pen.choice(ALIASES[label].split()) if label in ALIASES else label
