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
DRAIN_NS = 2_000_000
"""Nanoseconds of CPU that guests may use before the event loop gets its turn."""
MAX_OUTPUT_BACKLOG = 1 << 20
"""Bytes of output that a client may lag behind before its LIP is suspended."""
MAX_OUTPUT_BYTES = 64 << 20
"""Bytes of output that one process may emit..."""
OUTPUT_EVENT_BYTES = 64
"""...where each piece counts for so many more, which keeping it costs."""
MAX_LOG_BYTES = 1 << 20
"""Bytes of log kept for one process; later lines are dropped and counted."""
DEFAULT_WALL_SECONDS = 600.0
"""Seconds that a run may last unless its caller says otherwise."""
DEFAULT_CPU_SECONDS = 60.0
"""Seconds of guest CPU that a run may use unless its caller says otherwise."""

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
"""Tool calls in flight for one process."""
TOOL_SECONDS = 60.0
"""Seconds that one tool call may take."""
MAX_TOOL_THREADS = 64
"""Calls of one tool that is a plain function that may run at once, in a thread each."""
MAX_TOOL_ERROR_CHARS = 10_000
"""Characters of a tool's exception that its caller gets to see."""
MAX_TOOL_RESULT_BYTES = 4 << 20
"""Bytes of one tool's JSON result."""

# --- serving ----------------------------------------------------------------------------------------------------------
SSE_KEEP_ALIVE_SECONDS = 15.0
"""Seconds of silence after which an event stream carries a comment, so that proxies keep it open."""
HTTP_BACKLOG = 1024
"""Connections that may wait to be accepted."""
PROBE_SECONDS = 5.0
"""Seconds in which each model must run a token for the host to be ready (`/readyz`)..."""
PROBE_EVERY_SECONDS = 3.0
"""...and for which the answer holds."""
HTTP_SHUTDOWN_SECONDS = 5.0
"""Seconds that open requests have to end after the server was told to stop."""

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
ASSUMED_MOVE_BYTES = 4e9
"""Bytes a second that moves between device and host are taken to do before they were measured."""
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
MAX_LOADED_PROGRAMS = 256
"""Components kept loaded between runs."""
BUILD_SECONDS = 300.0
"""Seconds that `symphony build` may take for one component."""
