"""A shell that runs the tests in the background has them ignore SIGINT, and so would the programs that they start and
interrupt."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
