"""Every published limit, with its unit. `docs/security.md` has them as a table; a test holds the two together.

Each value can be overridden through the configuration of its package; nothing elsewhere hard-codes one.
"""

from __future__ import annotations

# --- uploads and arguments --------------------------------------------------------------------------------------------
MAX_UPLOAD_BYTES = 64 << 20
"""Bytes of one program, component or source."""
MAX_ARGS_BYTES = 1 << 20
"""Bytes of a run's JSON arguments."""
MAX_RESULT_BYTES = 16 << 20
"""Bytes of a run's JSON result."""
MAX_ERROR_CHARS = 64 << 10
"""Characters of a run's error, its traceback included, that are kept: its end, where Python says what it was."""
LAST_WORDS_LINES = 3
"""Lines of a trapped program's standard error that its error quotes (of its log, the last line at level error)..."""
LAST_WORDS_CHARS = 500
"""...in at most so many characters."""

# --- processes --------------------------------------------------------------------------------------------------------
MAX_PROCESSES = 4096
"""Live processes in one host."""
MAX_FINISHED_PROCESSES = 256
"""Ended processes whose events stay readable..."""
MAX_FINISHED_BYTES = 256 << 20
"""...as long as these bytes hold them all; the oldest are forgotten first."""
NICEST = 19
"""The largest nice value; the smallest is -20."""
MAX_LAG_NS = 20_000_000
"""Nanoseconds of CPU, over its weight, that a process can have had more than its tenant's others: what goes beyond is
forgiven, so that the lowest priority gets on too."""
MAX_PROCESSES_PER_TENANT = 2048
"""Live processes of one tenant; what it starts beyond that waits."""
MAX_WAITING_LAUNCHES = 1024
"""Launches that may wait for a place, with their arguments..."""
MAX_WAITING_PER_TENANT = 256
"""...and those of one tenant."""
MAX_WORKERS = 64
"""Worker processes of one host (docs/serving.md)."""
MAX_WORKER_MESSAGE_BYTES = 64 << 20
"""Bytes of one syscall's values, or of a result, between a worker and its host."""
WORKER_REPORT_NS = 20_000_000
"""Nanoseconds of CPU after which a guest in a worker that makes no syscall is reported: how late a CPU limit may be."""
WORKER_EXIT_SECONDS = 5.0
"""Seconds that a worker has to end by itself."""
MAX_WORKER_PAUSE_SECONDS = 30.0
"""Seconds at most between two attempts to replace a worker."""
WORKER_PING_SECONDS = 5.0
"""Seconds between two questions to a worker whether it is there..."""
WORKER_SILENCE_SECONDS = 30.0
"""...and for how long it may leave them unanswered before it counts as hung, and is killed and replaced..."""
WORKER_START_SECONDS = 120.0
"""...while it starts."""
WORKER_WAIT_SECONDS = 60.0
"""Seconds that programs wait for a worker where all were lost."""
DRAIN_NS = 2_000_000
"""Nanoseconds of CPU that guests may use before the event loop gets its turn."""
MAX_OUTPUT_BACKLOG = 1 << 20
"""Bytes of output that a client may lag behind before its LIP is suspended."""
MAX_OUTPUT_BYTES = 64 << 20
"""Bytes of output that one process may emit..."""
OUTPUT_EVENT_BYTES = 256
"""...where each piece counts for so many more, which keeping it costs."""
MAX_OUTPUT_BYTES_PER_TENANT = 512 << 20
"""Bytes of output and log that the live processes of one tenant may keep for readers, counted likewise."""
MAX_LOG_BYTES = 1 << 20
"""Bytes of log kept for one process; later lines are dropped and counted."""
DEFAULT_WALL_SECONDS = 600.0
"""Seconds that a run may last unless its caller says otherwise."""
DEFAULT_CPU_SECONDS = 60.0
"""Seconds of guest CPU that a run may use unless its caller says otherwise."""

# --- messages and children --------------------------------------------------------------------------------------------
MAX_MESSAGE_CHARS = 1 << 20
"""Characters of one message to a process or a channel."""
MAX_MAILBOX_TEXTS = 1024
"""Messages that wait to be received, of one process or one queue, and of one who receives a broadcast..."""
MAX_MAILBOX_CHARS = 1 << 20
"""...and their characters: above either, a queue is busy, and a broadcast loses the oldest."""
MAX_RECEIVES = 64
"""Messages that one process may wait for at once."""
MAX_OPEN_CHANNELS = 64
"""Channels that one process may have open."""
MAX_CHANNELS_PER_TENANT = 256
"""Channels of one tenant that are open somewhere."""
MAX_CHANNEL_NAME_CHARS = 256
"""Characters of a channel's name."""
MAX_CHILDREN = 64
"""Children of one process, those included that have ended and whose results it has not taken."""
MAX_SPAWN_DEPTH = 8
"""Generations of children below the process that a client started."""
MAX_CHILD_SOURCE_CHARS = 1 << 20
"""Characters of a Python source that a process starts; what is larger is uploaded and named."""
MAX_CHILD_TOOLS = 1024
"""Tools that a process may name for a child."""
MAX_CHILD_RESULT_CHARS = 1 << 20
"""Characters of a child's result."""

# --- inference --------------------------------------------------------------------------------------------------------
MAX_TOP_K = 1024
"""Most probable tokens that one reading may ask for."""
MAX_READ_VALUES = 65_536
"""Values that one prediction may ask for: of each output its top-k and its log-probabilities, and..."""
READ_VALUES_PER_OUTPUT = 16
"""...so many for the output itself. All of them cross to the guest at once, at about 0.3 us each. A generation pauses
when the tokens and alternatives that wait for its guest come to as much."""

MAX_KEPT_ROWS = 256
"""Distributions that a process keeps for later questions, each as large as a hidden state, in host memory."""
MAX_MASK_RUNS = 65_536
"""Runs of visible and hidden entries in the masks of one prediction."""
MAX_DRAFT_TOKENS = 32
"""Drafts that one step of a generation verifies."""
MAX_LOOKUP_NGRAM = 8
"""Last tokens that a lookup of drafts compares."""
MAX_LISTED_TOKENS = 262_144
"""Token ids in one option of an operation (log-probabilities, biases, stop tokens): the largest vocabularies."""
MAX_STOP_STRINGS = 64
"""Stop strings of one generation..."""
MAX_STOP_CHARS = 1024
"""...and characters of each: every token is held against all of them."""

# --- constraints ------------------------------------------------------------------------------------------------------
MAX_CONSTRAINTS = 256
"""Constraints of one process, forks included; those that generations advance are not counted."""
MAX_GRAMMAR_CHARS = 262_144
"""Characters of one schema, regular expression or grammar, and of all choices together."""
MAX_CHOICES = 20_000
"""Choices of one constraint."""
MAX_GRAMMAR_SYMBOLS = 500_000
"""Symbols in the rules of a compiled grammar."""
CONSTRAINT_COMPILE_FUEL = 1_000_000
"""llguidance's fuel for compiling one grammar, about 20 ms..."""
CONSTRAINT_STEP_FUEL = 100_000
"""...and for the regular expressions of one mask, about 7 ms; as a rule a mask takes 10 us."""
CONSTRAINT_STEP_ITEMS = 20_000
"""Earley items of one mask, about 1 ms."""
CONSTRAINT_STATES = 50_000
"""States of the automaton of one grammar, shared by all forks; about 2 kB each."""
INLINE_MASK_SECONDS = 1e-3
"""Seconds that a mask may take on the event loop; where one took longer, the next is found in a thread."""
CHECKER_CPU_SECONDS = 2.0
"""CPU seconds that trying one grammar may take, in the process that is there for it..."""
CHECKER_MEMORY_BYTES = 1 << 30
"""...with so much address space..."""
CHECKER_STACK_BYTES = 1 << 20
"""...and this stack, an eighth of what a thread of the host has."""

# --- tools ------------------------------------------------------------------------------------------------------------
MAX_TOOL_CALLS = 64
"""Calls of tools of one process, results that were not taken included."""
TOOL_SECONDS = 60.0
"""Seconds that one tool call may take."""
MAX_TOOL_CROWD = 128
"""Calls of one endpoint, of one MCP server, or of one plain function (a thread each) that may run at once, and half as
many of one tenant; more are refused."""
MAX_TOOL_ERROR_CHARS = 10_000
"""Characters of a tool's exception that its caller gets to see."""
MAX_TOOL_RESULT_BYTES = 4 << 20
"""Bytes of one tool's JSON result, and of what a tool's server sends for it, unpacked."""
MAX_TOOL_LISTED = 1024
"""Tools that one MCP server may offer..."""
MAX_TOOL_SCHEMA_CHARS = 262_144
"""...and characters of each one's name, summary and schema."""
MCP_START_SECONDS = 30.0
"""Seconds in which an MCP server has to say what it offers."""
MCP_RESTART_SECONDS = 5.0
"""Seconds between two attempts to reach an MCP server that went away."""
MCP_PING_SECONDS = 30.0
"""Seconds in which an MCP server has to answer a ping after a call that took too long; else it is started anew."""
MCP_MESSAGES = 1000
"""Messages of an MCP server over HTTP that may come before the answer to a call."""

# --- fetching ---------------------------------------------------------------------------------------------------------
MAX_FETCH_CONNECTIONS = 6
"""Requests of a process and its children that go on at a time, answers that were not taken included..."""
MAX_FETCHES = 64
"""...and those that were begun, with the ones that wait for their turn."""
MAX_OUTSIDE_CONNECTIONS = 128
"""Connections of all programs together, fetching..."""
MAX_OUTSIDE_PER_TENANT = 32
"""...and of those of one tenant."""
MAX_LOOKUPS = 128
"""Names that are looked up at once, in a thread each that nobody can stop..."""
MAX_LOOKUPS_PER_TENANT = 32
"""...and those of one tenant; more are refused."""
MAX_FETCH_REDIRECTS = 5
"""Redirects that one request follows."""
FETCH_SECONDS = 30.0
"""Seconds of one request, redirects included, unless its program says otherwise..."""
MAX_FETCH_SECONDS = 120.0
"""...and the most that it may say."""
MAX_FETCH_BYTES = 4 << 20
"""Bytes of an answer's body, both packed and unpacked."""
MAX_FETCH_BODY_BYTES = 1 << 20
"""Bytes of a request's body."""
MAX_FETCH_HEADERS = 64
"""Headers of a request..."""
MAX_FETCH_HEADER_BYTES = 16 << 10
"""...and their bytes."""
MAX_URL_CHARS = 8000
"""Characters of a URL."""

# --- serving ----------------------------------------------------------------------------------------------------------
MAX_KEYS = 10_000
"""Keys of one server: all are in one small file."""
SSE_KEEP_ALIVE_SECONDS = 15.0
"""Seconds of silence after which an event stream carries a comment, so that proxies keep it open."""
HTTP_PIECES_PER_SECOND = 1000
"""Pieces that the event streams of a server send, all together: where there would be more, each has more in it..."""
HTTP_PIECE_SECONDS = 0.1
"""...but no stream waits longer than this for the next one."""
HTTP_BACKLOG = 1024
"""Connections that may wait to be accepted."""
PROBE_SECONDS = 5.0
"""Seconds in which each model must run a token for the host to be ready (`/readyz`)..."""
PROBE_EVERY_SECONDS = 3.0
"""...and for which the answer holds."""
TIMELINE_SPANS = 2048
"""Turns, and syscalls, that the timeline of a process keeps: the last ones."""
DRAIN_SECONDS = 30.0
"""Seconds that accepted work has to end after SIGTERM."""
HTTP_LINGER_SECONDS = 0.5
"""Seconds in which a server that has drained still answers on connections that are open."""
HTTP_SHUTDOWN_SECONDS = 5.0
"""Seconds that open requests have to end after the server was told to stop."""
MAX_CONNECTIONS = 8192
"""Connections of clients (at most half of the files that the process may open); one more is answered with 503..."""
MAX_CONNECTIONS_PER_TENANT = 4096
"""...and those of one tenant, on a server with keys."""
HTTP_IDLE_SECONDS = 300.0
"""Seconds after which a connection on which nothing is asked is closed; a WebSocket is not."""
HTTP_SEND_BUFFER_BYTES = 256 << 10
"""Bytes that the kernel is asked to hold of what a client has not read (Linux takes twice as many): left to itself it
takes megabytes for each slow reader."""
HTTP_BODY_SECONDS = 300.0
"""Seconds in which a request's body has to arrive."""
HTTP_STALL_SECONDS = 300.0
"""Seconds that a client may take for the next piece of a stream (64 Ki characters at most), or for 64 KiB of another
answer, before it counts as gone."""
MAX_BODY_BYTES_AT_ONCE = 1 << 30
"""Bytes of all bodies of requests, and of answers that were not taken, that are in memory at a time..."""
MAX_BODY_BYTES_PER_TENANT = 512 << 20
"""...and of one tenant's."""
MAX_REQUESTS_PER_TENANT = 4096
"""Requests of one tenant that may be served at a time, streams and calls of WebSockets included."""
MAX_SOCKETS = 1024
"""Open WebSockets..."""
MAX_SOCKETS_PER_TENANT = 512
"""...those of one tenant..."""
MAX_FRAME_BYTES = 4 << 20
"""...bytes of one frame, and of all calls in flight of one WebSocket (larger programs are uploaded over HTTP)..."""
MAX_FRAME_ITEMS = 131_072
"""...the values in one body (an array of tokens that is sent as a `bin` is one)..."""
MAX_SOCKET_CALLS = 64
"""...and how many calls those may be."""

# --- KV files and operations ------------------------------------------------------------------------------------------
MAX_OPEN_FILES = 960
"""KV files that one process may have open: fewer than handles, so that it is an error to deal with and not the end."""
MAX_OPERATIONS = 64
"""Predictions and generations in flight for one process."""
MAX_PATH_BYTES = 1024
"""Bytes of a KVFS path."""
MAX_PATH_DEPTH = 32
"""Components of a KVFS path."""
MAX_NAMES_PER_TENANT = 65_536
"""Names of one tenant's files and the directories that it made, those in /shared included."""
MAX_FILES_PER_TENANT = 65_536
"""KV files of one tenant, named or open."""
MAX_EXTRACT_RANGES = 4096
"""Ranges of one extract."""
MAX_DIRECTORY_NAMES = 8192
"""Names directly below one directory: a listing is one answer."""
MAX_NAMES_AT_ONCE = 4096
"""Names that one rename of a directory may move, and one glob look at and so find; to a glob, long ones, and those held
against several components, count more."""
MAX_SURVEY_PAGES = 131_072
"""Entries of page tables that one look at who shares what (`fs tree`, `fs du`) may take, in about 60 ms..."""
MAX_SHOWN_NAMES = 16
"""Names of one file that an operator's listing or stat tells; how many there are it tells too."""
MAX_SURVEY_FILES = 4096
"""...and files that it may show or add up, in 0.3 s with the writing of the answer."""
MAX_LOCKS = 64
"""Advisory locks that one process may hold or wait for."""
MAX_TTL_SECONDS = 10 * 365 * 86_400
"""Seconds of the longest time to live of a name."""
SWEEP_SECONDS = 1.0
"""Seconds between two looks for names that are past their time to live; one that is looked up is checked at once."""
SWEEP_FILES = 64
"""Files that one look takes the names of; the next follows at once if there are more."""
MAX_UNDELIVERED_TOKENS = 256
"""Tokens that a generation runs ahead of its guest before it pauses."""

TENANT_PAGE_SHARE = 1.0
"""Share of a pool's device pages that may be charged to one tenant..."""
TENANT_SLOT_SHARE = 1.0
"""...and of its slots on the host."""
KEPT_SHARE = 0.75
"""Share of both up to which a tenant may hold some for a file to get more that gives nothing up again: one that is
pinned, or derived (after extract or append). The tenant's other files give way for it; the rest stays for other
tenants."""
DISK_BYTES = 8 << 30
"""Bytes of K/V on disk, of each model, of files that were synced and of those that memory has no room for..."""
MAX_DISK_PAGES = 65_536
"""...their number, each of which has its place in the books in memory (512 GiB of a model with pages of 8 MiB)..."""
TENANT_DISK_SHARE = 0.5
"""...and the share of them that one tenant may have."""
ASSUMED_MOVE_BYTES = 5e10
"""Bytes a second that moves between device and host are taken to do before they were measured: much, for what is never
tried is never measured."""
MAX_PINNED_SHARE = 0.5
"""Share of a pool's pages that pins may keep on the device."""
IDLE_SECONDS = 0.02
"""Seconds after which a file that nobody uses gives way first when others need pages: its process waits for something
else than the model."""
RESIDENCE_SECONDS = 0.1
"""Seconds that K/V in use stays on the device at least before others may take its pages..."""
RESIDENCE_FACTOR = 8.0
"""...and at least so many times what its way out and back takes."""
MOVE_PAGES = 512
"""Pages of one move between device and host; more go one move after the other."""
RESUMED_FILES = 32
"""Files of a process, the last ones that it opened, whose K/V is brought back when it goes on."""

# --- batches ----------------------------------------------------------------------------------------------------------
STEP_TOKENS = 2048
"""Tokens computed in one step, decodes and prefill chunks together..."""
STEP_TOKENS_GPU = 8192
"""...and where the model is on a GPU, which takes a few milliseconds for so many."""
STEP_ROWS = 256
"""Rows of one step."""
MAX_ROW_WAIT_SECONDS = 1.0
"""A row passed over for this long is no longer held back because of its kind."""
NICE_SECONDS = 0.05
"""A row of nice value n ranks among its tenant's like one that came so many seconds times n later."""

# --- text and models --------------------------------------------------------------------------------------------------
MAX_TEXT_CHARS = 4 << 20
"""Characters of one text to tokenize, and of one rendered conversation."""
INLINE_TEXT_CHARS = 2048
"""Characters of a text that is tokenized on the event loop, in about 1 ms; a longer one goes to a thread."""
INLINE_DECODE_TOKENS = 4096
"""Tokens of a file that become text on the event loop, in about 1 ms; more go to a thread."""
CHAT_TEMPLATE_FUEL = 1_000_000
"""minijinja instructions that rendering one conversation may take."""
KV_POOL_BYTES_CPU = 1 << 30
"""Bytes of KV pages on a CPU unless a number of pages is given; memory is only taken as pages are used."""
KV_POOL_SHARE_GPU = 0.85
"""Share of a GPU's free memory, after the weights, that becomes KV pages unless a number is given."""
KV_HOST_BYTES_CPU = 1 << 30
"""Bytes of KV pages in the host tier of a model on a CPU unless a number of pages is given; taken as they are used."""
KV_HOST_BYTES_GPU = 16 << 30
"""The same for a model on a GPU, where all of it is pinned when the model is loaded..."""
KV_HOST_SHARE_GPU = 0.25
"""...but at most this share of the machine's memory."""

# --- sandbox ----------------------------------------------------------------------------------------------------------
MAX_INSTANCES = 4096
"""Component instances alive at once; sizes the pools of memories, tables and stacks."""
GUEST_MEMORY_BYTES = 256 << 20
"""Bytes of one linear memory of a guest."""
GUEST_MEMORIES = 2
"""Linear memories of a guest."""
GUEST_TABLES = 4
"""Tables of a guest."""
GUEST_TABLE_ELEMENTS = 20_000
"""Elements of one table of a guest."""
GUEST_CORE_INSTANCES = 64
"""Core instances inside one guest (a Python component has 38)."""
POOLED_CORE_INSTANCES = 40
"""Core instances that the pool provides per component instance, on average."""
GUEST_STACK_BYTES = 512 << 10
"""Bytes of a guest's fiber stack; wasm frames may use half, the rest is for host calls."""
MEMORY_RESERVATION_BYTES = 4 << 30
"""Bytes of address space reserved for one linear memory: 4 GiB lets compiled code skip bounds checks."""
GUEST_HANDLES = 1024
"""Open handles of one process."""
FUEL_PER_SECOND = 10_000_000_000
"""Fuel (about one wasm instruction each) that the fastest code burns in one second. All of an instance's fuel is a
backstop of its CPU limit: slower code reaches the limit by the clock, which `process` holds, first."""
FUEL_SLICE = 500_000
"""Fuel of a guest's first slices, after which it lets others run; later ones follow the clock..."""
SLICE_NS = 500_000
"""...and aim at so many nanoseconds..."""
MIN_FUEL_SLICE = 20_000
"""...with at least..."""
MAX_FUEL_SLICE = 20_000_000
"""...and at most so much fuel."""
ANSWERS_PER_TURN = 64
"""Syscalls answered at once in one turn of a guest before others get theirs."""
MAX_TYPE_NODES = 10_000
"""Nodes of all import types of one component, written out as trees (a Python component has about 1,000)."""
MAX_RANDOM_BYTES = 1 << 20
"""Bytes of randomness that one WASI call may ask for."""
IN_LOOP_TOKENS = 8
"""A prediction of at most so many tokens counts as a guest's loop, which may wait for others; more is prefill."""

# --- programs ---------------------------------------------------------------------------------------------------------
COMPILE_CPU_SECONDS = 60
"""CPU seconds that compiling one component may take, in its own process. Any Python component is 30 MB and takes 20 s
on two busy cores, up to 52 s by the clock: half of these limits would refuse honest programs on a slower machine."""
COMPILE_WALL_SECONDS = 120.0
"""Seconds that it may take on a busy machine."""
COMPILE_MEMORY_BYTES = 4 << 30
"""Address space of the compiling process."""
MAX_COMPILED_BYTES = 1 << 30
"""Bytes of machine code of one program."""
CHECK_FUEL = 5_000_000_000
"""Fuel for looking at one Python source, inside the sandbox."""
TENANT_PROGRAM_BYTES = 8 << 30
"""Bytes of the stored programs of one tenant."""
MAX_PROGRAMS_PER_TENANT = 4096
"""Stored programs of one tenant, and names that they have."""
MAX_LOADED_PROGRAMS = 256
"""Components kept loaded between runs."""
BUILD_SECONDS = 300.0
"""Seconds that `symphony build` may take for one component."""
