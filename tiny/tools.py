"""Tools of daily life: what they take, and the parts that requests for them are made of. Every fifth is held out."""

from __future__ import annotations

from dataclasses import dataclass, field

from tiny.pen import Pen
from tiny.words import (
    COLORS, DAYS, FIRST, FOOD, JOBS, LANGUAGES, MONTHS, NOUNS, PLACES, Maker, amount, city, clock, code, company, date, email, full_name, key, name, number,
    of, path, phone, phrase, price, thing, within, word,
)  # fmt: skip


@dataclass(slots=True, frozen=True)
class Parameter:
    """`says`: how an argument stands in a request; with `one_of` it is one of those."""

    make: Maker
    says: str
    kind: str = "string"
    one_of: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Tool:
    """`does`: what is asked for, as a command, without arguments; `asks`: as a question; `free`: whole requests."""

    name: str
    description: str
    parameters: dict[str, Parameter]
    does: str
    asks: str = ""
    free: str = ""
    fixed: bool = False
    """Whether arguments come in this order."""
    extra: dict[str, Parameter] = field(default_factory=dict[str, Parameter])


def text(make: Maker, says: str) -> Parameter:
    return Parameter(make, says)


def whole(make: Maker, says: str) -> Parameter:
    return Parameter(make, says, "integer")


def one(says: str, *of: str) -> Parameter:
    return Parameter(lambda pen: pen.choice(of), says, "string", of)


def sum_(pen: Pen) -> str:
    return f"{number(pen)} {pen.choice('+-*/')} {number(pen)}"


def complaint(pen: Pen) -> str:
    """What a ticket is about."""
    if pen.chance(0.4):
        return phrase(pen)
    said = pen.write(
        "[the |our |my |]{n} [in the {p}|on floor {i}|of {w}|in room {i}|] [is broken|is down|does not [work|start|print|answer]|is [slow|stuck|lost|too loud|dirty]|has [stopped|crashed|failed]|leaks|keeps crashing|makes noise]"
        "|[no|lost] {n} [in the {p}|on floor {i}|]|[cannot|can not] [open|find|use|start] the {n}|{n} [error|problem|failure][ in {p}|]",
        n=pen.word(NOUNS), p=pen.word(PLACES), i=pen.between(1, 40), w=pen.word(FIRST),
    ).replace("  ", " ")  # fmt: skip
    return said[0].upper() + said[1:] if pen.chance(0.4) else said


def symbol(pen: Pen) -> str:
    return "".join([pen.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(pen.between(2, 5))])


UNITS = "meters kilometers miles feet grams kilograms pounds liters hours minutes celsius fahrenheit euros dollars".split()
UNIT = one("in {v}|in degrees {v}|, in {v}", "celsius", "fahrenheit", "kelvin")
IN = "in {v}|for {v}|over in {v}"
TOOLS = [
    Tool("get_weather", "Get the current weather for a city", {"city": text(city, IN)},
         "[tell me|check|show me|look up|give me|report] the [current |]weather|find out how the weather is",
         "[What is|What's|How is|How's] the weather[ like|]|What [kind of |]weather is it|[How warm|How cold|How hot] is it|Is it [raining|snowing|sunny|windy|cold|warm]|What is the temperature",
         "Weather in {city}[ please|]|{city} weather|Do I need an umbrella in {city}?|Should I take a [jacket|hat|scarf] in {city}?|Will I [freeze|get wet|need sunglasses] in {city}[ today|]?|Is {city} [cold|sunny|wet] [now|today]?",
         extra={"unit": UNIT}),
    Tool("get_forecast", "Get the weather forecast", {"city": text(city, IN), },
         "[give me|show me|get] the [weather |]forecast", "[What is|What's] the forecast|What will the weather be [like |]", "Forecast for {city}[, please|]|Will it [rain|snow|be warm] in {city} [tomorrow|this week|next week]?", extra={"days": whole(within(2, 14), "for {v} days|over the next {v} days|for the coming {v} days")}),
    Tool("send_email", "Send an email", {"to": text(email, "to {v}|to the address {v}"), "subject": text(phrase, "with the subject {v}|about {v}|, subject: {v}")},
         "[send|write] an [email|e-mail|mail]|send a mail", free="Email {to} about {subject}.|Mail {to}: {subject}|Write to {to} about {subject}.|Let {to} know about {subject}."),
    Tool("set_timer", "Set a timer", {"minutes": whole(number, "for {v} minutes|of {v} minutes|that rings [in|after] {v} minutes|to {v} minutes")},
         "[set|start|make|run] [a|the|another] timer", free="[Wake me|Call me|Ring] in {minutes} minutes.|{minutes} minutes on the timer[, please|].|Start a {minutes} minute timer.|The pasta needs {minutes} minutes, set a timer."),
    Tool("book_flight", "Book a flight", {"origin": text(city, "from {v}|leaving [from |]{v}|out of {v}"), "destination": text(city, "to {v}|going to {v}|bound for {v}"),
         "date": text(date, "on {v}|for {v}|, departure {v}")}, "[book|get me|reserve|find me|buy] a [flight|plane ticket|seat on a plane]",
         free="I [want|need|have] to fly from {origin} to {destination} on {date}.|I must be in {destination} on {date}, I start in {origin}, book a flight."),
    Tool("get_order", "Get the status of an order", {"order_id": text(code, "{v}|number {v}|with the id {v}")}, "[check|track|look up|find] [the|my] order",
         "[Where is|What is the status of|How far is|What about|What happened to] [my |the |]order", "Has {order_id} been [sent|shipped]?|Order {order_id}, [where is it|any news]?|Status of {order_id}?"),
    Tool("create_ticket", "Create a support ticket", {"title": text(complaint, "with [the |]title {v}|about {v}|: {v}"), "priority": one("with {v} priority|and priority {v}|, {v} priority", "low", "medium", "high", "urgent")},
         "[create|open|file|make|raise] a [support |]ticket", free="[Please |]open a {priority} priority ticket: {title}|{title}, [please |][open|make|file] a {priority} priority ticket.|{title}. [Make|File] a {priority} priority ticket for this[, please|].|I have a problem: {title}. [Please make|Open] a {priority} ticket.|{title} - ticket, {priority} priority[, please|]"),
    Tool("translate", "Translate text to another language", {"text": text(phrase, "{v}|the text {v}|the words {v}"), "language": text(of(LANGUAGES), "to {v}|into {v}|in {v}")},
         "translate|put|say", free="How do you say {text} in {language}?|What is {text} in {language}?|What does {text} mean in {language}?", fixed=True),
    Tool("set_light", "Set the brightness of the light in a room", {"room": text(of(PLACES), "in the {v}|of the {v}"), "brightness": whole(within(0, 100), "to {v}|to {v} percent|at {v} percent")},
         "[set|dim|turn|change|bring] the [light|lamp|lights]", free="Make the {room} light {brightness}[ percent|].|I want {brightness} percent light in the {room}.|{room} light: {brightness}"),
    Tool("play_music", "Play a song", {"song": text(phrase, "{v}|the song {v}|the track {v}"), "artist": text(full_name, "by {v}|from {v}|sung by {v}")}, "play|put on|start", fixed=True,
         free="I [want|would like] to [hear|listen to] {song} [by|from] {artist}."),
    Tool("get_time", "Get the current time in a city", {"city": text(city, IN)}, "[tell me|show me|check|get] the [current |local |]time", "What time is it|[What is|What's] the [current |local |]time|How late is it",
         "Is it [late|already night] in {city}?|Time in {city}?|Clock for {city}"),
    Tool("calculator", "Evaluate a math expression", {"expression": text(sum_, "{v}")}, "[calculate|compute|evaluate|work out|solve]", "[What is|How much is|What's]", "{expression} = ?|{expression}"),
    Tool("web_search", "Search the web", {"query": text(phrase, "for {v}")}, "[search|look|search the web|look on the web|search online|look online]", free="Look up {query} online.|Find [information|something|pages] about {query}.|Google {query}|What does the web say about {query}?"),
    Tool("add_todo", "Add an item to the todo list", {"task": text(phrase, "{v}")}, "add|put|write|note", free="Add {task} to my [todo |]list.|Put {task} on my [todo |]list.|Remind me to {task}.|I must not forget to {task}.|Todo: {task}|Note that I have to {task}."),
    Tool("book_hotel", "Reserve a room in a hotel", {"city": text(city, "in {v}"), "check_in": text(date, "from {v}|starting on {v}|, arrival {v}"), "nights": whole(within(1, 20), "for {v} nights|, {v} nights")},
         "[book|reserve|find|get me] [a hotel|a room|a hotel room|a place to sleep]", free="I [will be|am] in {city} from {check_in}, {nights} nights, and need a room."),
    Tool("lookup_user", "Look up a user by id", {"user_id": whole(number, "{v}|number {v}|with the id {v}")}, "[look up|find|show me|get] [the |]user", "Who is [the |]user|What do we know about user", "Show the account of user {user_id}.|User {user_id}?"),
    Tool("read_file", "Read a file", {"path": text(path, "{v}|the file {v}")}, "[read|open|show me|display|print]", free="What is in {path}?|Show me what is in {path}.|[What does|Tell me what] {path} [say|says][?|.]"),
    Tool("write_file", "Write text to a file", {"path": text(path, "to {v}|to the file {v}|in {v}|into {v}"), "content": text(phrase, "{v}|the text {v}")}, "[write|save|store|put]", free="Save {content} in the file {path}.|Create {path} with the text {content}.|Write {content} to {path}."),
    Tool("convert_units", "Convert a value from one unit to another", {"value": Parameter(lambda pen: number(pen) if pen.chance(0.6) else amount(pen), "{v}", "number"), "from_unit": text(of(UNITS), "{v}"), "to_unit": text(of(UNITS), "to {v}|into {v}")},
         "[convert|change|turn|recalculate]", free="How many {to_unit} are {value} {from_unit}?|{value} {from_unit} in {to_unit}[?|, please|]|What is {value} {from_unit} in {to_unit}?|I have {value} {from_unit}, how much is that in {to_unit}?", fixed=True),
    Tool("book_table", "Book a table at a restaurant", {"restaurant": text(company, "at {v}|in {v}"), "people": whole(within(1, 20), "for {v} people|for {v}|for {v} guests"), "time": text(clock, "at {v}|for {v}")},
         "[book|reserve|get us] a table", free="We are {people} and want to eat at {restaurant} at {time}.|{restaurant} at {time}, {people} people[, please|].|Dinner for {people} at {restaurant}, {time}."),
    Tool("get_stock_price", "Get the price of a stock", {"symbol": text(symbol, "of {v}|for {v}")}, "[get|show me|check|tell me|look up] the [stock |share |]price", "[What is|What's] the [stock |share |current |]price", "How much is {symbol} [trading at|worth]?|{symbol} stock[ price|]?|How is {symbol} doing [today|now]?"),
    Tool("query_db", "Run a query on the database", {"table": text(key, "from [the table |]{v}|of [the table |]{v}"), "limit": whole(number, "with a limit of {v}|, limit {v}|, at most {v}")}, "[get|fetch|show|read] [the |]rows",
         free="Get {limit} rows from {table}.|Show the first {limit} rows of {table}.|Query [the table |]{table} with a limit of {limit}."),
    Tool("search_products", "Search the shop for products", {"query": text(phrase, "for {v}"), "max_price": Parameter(price, "under {v} [dollars|euros|]|below {v} [dollars|euros]|for at most {v}", "number")}, "[search|search the shop|look]",
         free="[Find|Show me|Get me|I want] {query} [under|below|for less than] {max_price}[ dollars| euros|].|I look for {query}, not more than {max_price} dollars."),
    Tool("schedule_meeting", "Schedule a meeting", {"person": text(full_name, "with {v}"), "date": text(date, "on {v}|for {v}"), "time": text(clock, "at {v}|from {v} on")}, "[schedule|plan|arrange|set up] a [meeting|call|talk]|put a meeting in my calendar",
         free="I [need|want|have] to [talk to|see|meet] {person} on {date} at {time}.|Meet {person} at {time} on {date}."),
    Tool("send_message", "Send a message to a person", {"recipient": text(name, "to {v}"), "text": text(phrase, "{v}|saying {v}|: {v}")}, "[send|write] a [message|text|note]", free="Tell {recipient} that {text}.|Text {recipient}: {text}|Send {recipient} the message {text}.|Message {recipient}: {text}", fixed=True),
    Tool("run_code", "Run Python code", {"code": text(lambda pen: f"print({sum_(pen)})", "{v}|the code {v}")}, "[run|execute|try|start]", free="What does {code} print?|Execute this code: {code}|Python: {code}"),
    Tool("get_distance", "Get the distance between two cities", {"start": text(city, "from {v}"), "end": text(city, "to {v}")}, "[get|tell me|find|compute] the distance", "How far is it|[What is|What's] the distance|How [long|many kilometers] is the [way|road]",
         "[Distance|The way|How far is it] between {start} and {end}?|I want to drive from {start} to {end}, how far is that?|Is it far from {start} to {end}?", fixed=True),
    Tool("delete_file", "Delete a file", {"path": text(path, "{v}|the file {v}")}, "[delete|remove|erase|get rid of|throw away]", free="I do not need {path} any more, delete it.|{path} can go."),
    Tool("set_temperature", "Set the temperature of a room", {"room": text(of(PLACES), "in the {v}|of the {v}"), "degrees": whole(within(10, 30), "to {v} degrees|to {v}")}, "[set|turn|bring|put] the [temperature|heating|thermostat]",
         free="Heat the {room} to {degrees}[ degrees|].|Make it {degrees} degrees in the {room}.|I want {degrees} degrees in the {room}."),
    Tool("order_food", "Order food from a restaurant", {"dish": text(of(FOOD), "{v}|the {v}|some {v}"), "quantity": whole(within(1, 20), ", {v} times|, {v} portions|, quantity {v}"), "address": text(lambda pen: f"{pen.between(1, 99)} {word(pen)} street", "to {v}|, address {v}")},
         "[order|get me|bring|deliver]", free="I am hungry, {quantity} portions of {dish} to {address}[, please|].|Send {quantity} {dish} to {address}."),
    Tool("find_recipe", "Find a recipe by ingredient", {"ingredient": text(of(FOOD), "with {v}|for {v}|that uses {v}")}, "[find|show me|suggest|look for|give me] a [recipe|dish]", "What [can I cook|can I make|do I cook]", "I have {ingredient}, what can I cook?", extra={"minutes": whole(within(5, 90), "in {v} minutes|in at most {v} minutes")}),
    Tool("create_event", "Create a calendar event", {"title": text(phrase, "called {v}|: {v}|with the title {v}"), "date": text(date, "on {v}|for {v}")}, "[create|add|make|enter] [an event|a calendar entry|an appointment]", free="Put {title} in my calendar for {date}.|{title} is on {date}, add it to the calendar.", extra={"time": text(clock, "at {v}")}),
    Tool("get_exchange_rate", "Get the exchange rate of two currencies", {"from_currency": text(symbol, "from {v}|of {v}"), "to_currency": text(symbol, "to {v}|in {v}|against {v}")}, "[get|check|show me|tell me] the exchange rate", "[What is|What's] the [exchange |]rate", "How much {to_currency} do I get for [one |]{from_currency}?", fixed=True),
    Tool("turn_on", "Turn a device on or off", {"device": text(thing, "the {v}"), "state": one("{v}", "on", "off")}, "[turn|switch]", free="Turn {state} the {device}.|The {device} should be {state}.|Switch {state} the {device} [please|now|].", fixed=True),
    Tool("call_contact", "Call a person on the phone", {"person": text(full_name, "{v}")}, "[call|ring|phone|dial]", free="I [want|need|have] to [speak|talk] to {person} on the phone.|Get {person} on the line.", extra={"number": text(phone, "at {v}|on {v}|, number {v}")}),
    Tool("get_news", "Get the latest news about a topic", {"topic": text(word, "about {v}|on {v}")}, "[get|show me|read|find|give me] the [latest |]news|tell me what is new", "What is [new|the news]|Is there anything new", "News about {topic}?", extra={"limit": whole(within(1, 20), ", {v} articles|, at most {v}")}),
    Tool("log_expense", "Log an expense", {"amount": Parameter(price, "of {v} [dollars|euros]|over {v}", "number"), "category": one("for {v}|in the category {v}|under {v}", "food", "travel", "rent", "fun", "other")}, "[log|add|note|record|enter] [an expense|a payment|costs]", free="I [spent|paid] {amount} [dollars|euros] for {category}[, log it|, note that|]."),
    Tool("find_job", "Find open jobs", {"job": text(of(JOBS), "as a {v}|for a {v}"), "city": text(city, "in {v}|around {v}")}, "[find|search|show me|look for] [a job|work|open jobs]", free="Which {job} jobs are there in {city}?|I am a {job} and look for work in {city}."),
    Tool("move_file", "Move a file to another folder", {"source": text(path, "{v}|the file {v}|from {v}"), "folder": text(key, "to {v}|into {v}|into the folder {v}")}, "[move|shift|put|carry]", free="{source} belongs into {folder}, move it.", fixed=True),
    Tool("open_door", "Open or close a door", {"room": text(of(PLACES), "of the {v}|to the {v}"), "action": one("and {v} it", "open", "close", "lock")}, "[go to|take|find] the door", fixed=True, free="{action} the [door of the {room}|{room} door][, please|].|The {room} door, {action} it.|[Can|Could] you {action} the {room} door?"),
    Tool("set_reminder", "Set a reminder", {"text": text(phrase, "to {v}|about {v}"), "time": text(clock, "at {v}|for {v}")}, "[set|make|create] a reminder|remind me", free="At {time} I have to {text}, remind me.|Do not let me forget {text} at {time}."),
    Tool("track_parcel", "Track a parcel", {"tracking_number": text(code, "{v}|number {v}|with the number {v}")}, "[track|find|locate|follow] [the|my] [parcel|package|shipment]", "[Where is|What about|When comes] [my|the] [parcel|package]", "Has parcel {tracking_number} [arrived|left]?"),
    Tool("rate_product", "Rate a product", {"product": text(thing, "the {v}|for the {v}"), "stars": whole(within(1, 5), "with {v} stars|, {v} stars|at {v} stars")}, "[rate|review]", free="I give the {product} {stars} stars.|{stars} stars for the {product}."),
    Tool("get_holidays", "Get the public holidays of a month", {"country": text(of("France Spain Italy Japan Brazil Canada Norway Egypt India Kenya Peru Cuba".split()), "in {v}|of {v}"), "month": text(of(MONTHS), "in {v}|for {v}")}, "[get|show me|list|tell me] the holidays", "[Which|What] holidays are there", "Is there a holiday in {country} in {month}?"),
    Tool("paint_wall", "Order paint for a wall", {"color": text(of(COLORS), "in {v}|, color {v}"), "area": whole(within(4, 80), "for {v} square meters|, {v} square meters")}, "[order|buy|get] paint", free="My wall has {area} square meters and should be {color}."),
    Tool("book_class", "Book a class in the gym", {"course": text(of("yoga boxing dancing swimming rowing cycling pilates tennis judo running".split()), "for {v}|in {v}"), "day": text(of(DAYS), "on {v}|for {v}")}, "[book|reserve|get me] a [class|course|place]", free="I want to do {course} on {day}.|{course} on {day}[, please|]."),
    Tool("check_stock", "Check how many of an item are in stock", {"item": text(thing, "of the {v}|for the {v}"), "store": text(city, "in {v}|in our {v} store")}, "[check|look up|count] the stock", "How large is the stock|What is the stock", "How many {item}s [are left|do we have] in {store}?|Is the {item} in stock in {store}?"),
    Tool("transfer_money", "Transfer money to somebody", {"amount": Parameter(price, "{v} [dollars|euros]|an amount of {v}", "number"), "recipient": text(full_name, "to {v}")}, "[send|transfer|pay|wire]", free="{recipient} gets {amount} [dollars|euros] from me.|I owe {recipient} {amount}, send it.", fixed=True, extra={"date": text(date, "on {v}")}),
    Tool("resize_image", "Resize an image", {"file": text(path, "{v}|the image {v}"), "width": whole(within(16, 4000), "to a width of {v}|to {v} pixels|, width {v}")}, "[resize|scale|shrink]", free="Make {file} {width} pixels wide.|{file} should be {width} wide."),
    Tool("restart_server", "Restart a server", {"host": text(key, "{v}|the server {v}|the host {v}")}, "[restart|reboot|start again]", free="{host} hangs, restart it.|[Give|Please give] {host} a restart."),
]  # fmt: skip
ALIASES = {
    "city": "location place town city_name", "query": "q search keywords text", "to": "recipient address email", "minutes": "duration time length", "expression": "expr formula input",
    "path": "file filename file_path", "user_id": "id uid user", "order_id": "id order number", "language": "lang target target_language", "text": "content message body", "date": "day when",
    "person": "name attendee who", "title": "subject summary name", "room": "location place", "origin": "from start from_city", "destination": "to end to_city", "unit": "units scale",
    "restaurant": "name place", "people": "guests persons", "artist": "singer band", "song": "title track", "symbol": "ticker stock", "amount": "sum value", "task": "item text",
}  # fmt: skip
