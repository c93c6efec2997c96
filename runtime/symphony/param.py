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

# --- processes --------------------------------------------------------------------------------------------------------
MAX_PROCESSES = 4096
"""Live processes in one host."""
MAX_FINISHED_PROCESSES = 256
"""Ended processes whose events stay readable."""
DRAIN_NS = 2_000_000
"""Nanoseconds of CPU that guests may use before the event loop gets its turn."""
MAX_OUTPUT_BACKLOG = 1 << 20
"""Bytes of output that a client may lag behind before its LIP is suspended."""
MAX_OUTPUT_BYTES = 64 << 20
"""Bytes of output that one process may emit."""
MAX_LOG_BYTES = 1 << 20
"""Bytes of log kept for one process; later lines are dropped and counted."""
DEFAULT_WALL_SECONDS = 600.0
"""Seconds that a run may last unless its caller says otherwise."""
DEFAULT_CPU_SECONDS = 60.0
"""Seconds of guest CPU that a run may use unless its caller says otherwise."""

# --- inference --------------------------------------------------------------------------------------------------------
MAX_TOP_K = 1024
"""Most probable tokens that one reading may ask for."""

# --- tools ------------------------------------------------------------------------------------------------------------
MAX_TOOL_CALLS = 64
"""Tool calls in flight for one process."""
TOOL_SECONDS = 60.0
"""Seconds that one tool call may take."""
MAX_TOOL_RESULT_BYTES = 4 << 20
"""Bytes of one tool's JSON result."""

# --- serving ----------------------------------------------------------------------------------------------------------
SSE_KEEP_ALIVE_SECONDS = 15.0
"""Seconds of silence after which an event stream carries a comment, so that proxies keep it open."""
HTTP_BACKLOG = 1024
"""Connections that may wait to be accepted."""
HTTP_SHUTDOWN_SECONDS = 5.0
"""Seconds that open requests have to end after the server was told to stop."""

# --- KV files and operations -------------------------------------------------------------------------------------------
MAX_OPEN_FILES = 1024
"""KV files that one process may have open."""
MAX_OPERATIONS = 64
"""Predictions and generations in flight for one process."""
MAX_PATH_BYTES = 1024
"""Bytes of a KVFS path."""
MAX_PATH_DEPTH = 32
"""Components of a KVFS path."""
MAX_NAMES_PER_TENANT = 65_536
"""Names in one tenant's KVFS."""
MAX_UNDELIVERED_TOKENS = 256
"""Tokens that a generation runs ahead of its guest before it pauses."""
MAX_TOP_K_READING = 1024
"""Most probable tokens that one reading may ask for, and alternatives a generated token."""

# --- batches -----------------------------------------------------------------------------------------------------------
STEP_TOKENS = 2048
"""Tokens computed in one step, decodes and prefill chunks together."""
STEP_ROWS = 256
"""Rows of one step."""
MAX_ROW_WAIT_SECONDS = 1.0
"""A row passed over for this long goes before all younger ones, whatever its kind and tenant."""
