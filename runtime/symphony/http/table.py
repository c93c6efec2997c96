"""The HTTP interface as one table: route --> handler, with what there is to say about it.

The server registers it, `/openapi.json` is made from it, and a request with a query parameter that its line does not
name is refused. What it says of keys `auth.py` enforces.
"""

from __future__ import annotations

from symphony import param
from symphony.access.identity import Role
from symphony.http import fs, metrics, models, openai, openapi, processes, programs, runs, status, ui, ws
from symphony.http.route import BYTES, EVENTS, JSON, TEXT, Answer, Body, Query, Route, gives, nothing
from symphony.http.schemas import ANYTHING, FLAG, ref
from symphony.http.schemas import BYTES as CONTENT
from symphony.http.schemas import TEXT as WORD

NAME = Query("name", {"type": "string", "minLength": 1}, "A name for the program, beside its id.")
ARGS = Query(
    "args",
    WORD,
    "The program's arguments, the JSON of an object. A URL has 8,190 bytes: beyond, run a stored program.",
)
AFTER = Query("after", {"type": "integer", "minimum": 0}, "Leave out so many events, those that the client has had.")
OF_A_RUN = (
    Query("timeout", {"type": "number", "exclusiveMinimum": 0}, "Seconds that the run may take."),
    Query("detach", FLAG, "1: answer at once; the process lives on without its client."),
    Query(
        "nice",
        {"type": "integer", "minimum": -param.NICEST - 1, "maximum": param.NICEST},
        "How far it stands back behind the tenant's other processes.",
    ),
    Query("trace", FLAG, "1: record when it had its turns and what it asked of the host."),
)
PROGRAM = Body(CONTENT, "Python source or a component.", BYTES)
RUN = (
    Answer("The run has ended; or its events, if the client accepts those.", {JSON: ref("Run"), EVENTS: WORD}),
    gives(ref("Started"), "With detach=1: it has begun.", 202),
)
STREAM = Answer("Events: start, output, log, and one result or error.", {EVENTS: WORD})

FS = r"/v1/fs{path:(/[\s\S]*)?}"
"""Whatever the path is: what is wrong with it says the KVFS."""
SHOWN_FS = "/v1/fs/{path}"
LOOK = (
    Query("what", {"type": "string", "enum": list(fs.LOOKS)}, "Of a file, that alone."),
    Query("tree", FLAG, "1: everything below, with the pages that it shares."),
    Query("du", FLAG, "1: the space that it takes."),
)
PUT = (
    Query("overwrite", FLAG, "1: it may replace what has the name."),
    Query("trust", FLAG, "1: its K/V may serve other prompts too, and be computed again."),
)
DO = (
    Query("do", {"type": "string", "enum": list(fs.DEEDS)}, "What to do with it."),
    Query("to", WORD, "Where to copy or move it to."),
    Query("overwrite", FLAG, "1: a copy may replace what has the name."),
    Query("repair", FLAG, "1: a check repairs what can be."),
)
RECURSIVE = Query("recursive", FLAG, "1: with everything below.")

OPENAI_BODY = Body({"type": "object"}, "A request in OpenAI's format.")
OPENAI_ANSWER = (Answer("In OpenAI's format.", {JSON: {"type": "object"}, EVENTS: WORD}),)

ANY_KEY, RUNS, UPLOADS = (), (Role.RUN,), (Role.UPLOAD,)
"""What a client's key must be for. A route that says nothing is for operators."""

ROUTES: tuple[Route, ...] = (
    Route(
        "POST",
        "/v1/programs",
        programs.upload,
        "Store a program. The same content twice is the same program.",
        (gives(ref("Program"), "It was known.", 200), gives(ref("Program"), "It is stored.", 201)),
        (NAME,),
        PROGRAM,
        needs=UPLOADS,
    ),
    Route("GET", "/v1/programs", programs.listing, "List the stored programs.", (gives(ANYTHING),), needs=ANY_KEY),
    Route(
        "GET",
        "/v1/programs/{ref}",
        programs.show,
        "Look at a program, by id or name.",
        (gives(ref("Program")),),
        needs=ANY_KEY,
    ),
    Route(
        "DELETE",
        "/v1/programs/{ref}",
        programs.remove,
        "Remove a program.",
        (nothing("It is removed."),),
        needs=UPLOADS,
    ),
    Route(
        "POST",
        "/v1/programs/{ref}/run",
        runs.run_program,
        "Run a stored program.",
        RUN,
        OF_A_RUN,
        Body({"type": "object"}, "The program's arguments.", needed=False),
        needs=RUNS,
    ),
    Route(
        "POST",
        "/v1/run",
        runs.run_once,
        "Run a program without storing it.",
        RUN,
        (ARGS, *OF_A_RUN),
        PROGRAM,
        needs=(*RUNS, *UPLOADS),
    ),
    Route("GET", "/v1/processes", processes.listing, "List the processes.", (gives(ANYTHING),), needs=RUNS),
    Route("GET", "/v1/processes/{pid}", processes.show, "Look at a process.", (gives(ref("Process")),), needs=RUNS),
    Route("DELETE", "/v1/processes/{pid}", processes.kill, "End a process.", (gives(ref("Process")),), needs=RUNS),
    Route(
        "GET",
        "/v1/processes/{pid}/events",
        processes.events,
        "Read a process' events, from the beginning or from where the client was (`after`, or Last-Event-ID).",
        (STREAM,),
        (AFTER,),
        needs=RUNS,
    ),
    Route(
        "GET",
        "/v1/processes/{pid}/trace",
        processes.trace,
        "The timeline of a process that was started with trace=1, for trace viewers.",
        (gives(ref("Trace")),),
        needs=RUNS,
    ),
    Route(
        "POST",
        "/v1/processes/{pid}/messages",
        processes.message,
        "Send a text to a process.",
        (nothing("It will be received."),),
        body=Body(WORD, "The text.", TEXT, needed=False),
        needs=RUNS,
    ),
    Route(
        "GET",
        FS,
        fs.look,
        "Look at a KV file or a directory, or take a file with you.",
        (Answer("What was asked for.", {JSON: ref("Name"), BYTES: CONTENT}),),
        LOOK,
        shown=SHOWN_FS,
    ),
    Route(
        "PUT",
        FS,
        fs.put,
        "Give a KV file that was exported a name here.",
        (gives(ref("Name"), "It is there, and durable.", 201),),
        PUT,
        Body(CONTENT, "What an export gave.", BYTES),
        shown=SHOWN_FS,
    ),
    Route(
        "POST",
        FS,
        fs.do,
        "Pin, unpin, copy or move a KV file.",
        (gives(ANYTHING), gives(ANYTHING, "There is a copy.", 201)),
        DO,
        shown=SHOWN_FS,
    ),
    Route("DELETE", FS, fs.remove, "Remove a name.", (nothing("It is removed."),), (RECURSIVE,), shown=SHOWN_FS),
    Route("GET", "/v1/status", status.show, "Gauges of each model, processes by state.", (gives(ref("Status")),)),
    Route("GET", "/v1/models", models.listing, "List the loaded models.", (gives(ANYTHING),), needs=ANY_KEY),
    Route(
        "GET",
        "/v1/models/{name:.+}",
        models.show,
        "Look at a model.",
        (gives(ref("Model")),),
        needs=ANY_KEY,
        shown="/v1/models/{name}",
    ),
    Route(
        "POST",
        "/v1/chat/completions",
        openai.chat,
        "OpenAI's chat completions.",
        OPENAI_ANSWER,
        body=OPENAI_BODY,
        needs=RUNS,
    ),
    Route(
        "POST",
        "/v1/completions",
        openai.completions,
        "OpenAI's completions.",
        OPENAI_ANSWER,
        body=OPENAI_BODY,
        needs=RUNS,
    ),
    Route(
        "GET",
        "/v1/ws",
        ws.connect,
        "The same routes over a WebSocket, in msgpack frames.",
        (Answer("The connection is a WebSocket now.", status=101),),
        needs=ANY_KEY,
    ),
    Route(
        "GET",
        "/metrics",
        metrics.show,
        "The host in numbers, in the text format of Prometheus.",
        (Answer("The numbers.", {TEXT: WORD}),),
    ),
    Route("GET", "/openapi.json", openapi.show, "This document.", (gives(ANYTHING),)),
    *ui.ROUTES,
    Route("GET", "/healthz", models.healthz, "Whether the server lives.", (gives(ANYTHING),)),
    Route("GET", "/readyz", models.readyz, "Whether the models work.", (gives(ANYTHING),)),
)
