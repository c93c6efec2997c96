"""A Symphony server from Python: the facade of `symphony.Runtime` for programs that run elsewhere.

async with Client("http://127.0.0.1:8080") as client:
    text = await client.run("agent.py", question="...")
"""

from symphony.client.client import Client
from symphony.client.run import Event, Run

__all__ = ["Client", "Event", "Run"]
