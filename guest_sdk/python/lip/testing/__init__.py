"""`lip.testing`: a program against a scripted model, in plain pytest; no Wasm, no weights, no host.

    from lip.testing import Host
    from app import app

    def test_it_asks_for_the_weather():
        call = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>'
        host = Host([call, "It rains."], tools={"weather": lambda city: "rain"})
        assert host.run(app, question="Weather in Paris?") == "It rains."
        assert host.calls[0].arguments == {"city": "Paris"}
        assert "rain" in host.prompts[1]

The program is the SDK's as ever; only the host behind it is played here. What the script does not play, it says so
(`ScriptError`): what drafts save. The tokens are words, time passes at once, and nothing is as slow, as short of memory
or as surprising as a real model: try the program on one too (`symphony run app.py`).
"""

from ._basics import ScriptError
from ._outside import ToolCall
from ._web import Fetched
from .host import Host

__all__ = ["Fetched", "Host", "ScriptError", "ToolCall"]
