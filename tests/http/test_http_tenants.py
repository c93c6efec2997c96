"""Two tenants of one server, with real programs: nothing of the one is there for the other, by whatever name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from live_server import Server

from symphony.access.gate import Gate
from symphony.access.identity import Role
from symphony.access.keys import KeyFile
from symphony.cli.remote import Remote
from symphony.engine.fake import FakeEngine
from symphony.errors import Exists, LimitExceeded, NoSpace, NotFound, PermissionDenied, SymphonyError
from symphony.host import Config, Runtime
from symphony.sched.admission import AdmissionLimits

LIP = "from lip import *\nimport lip\n@main\nasync def app"
KEEP = f"""{LIP}(path: str, text: str) -> int:
    async with Context() as ctx:
        ctx.feed(text)
        await ctx.flush()
        await ctx.save(path)
        return len(ctx)
"""
READ = f"""{LIP}(path: str) -> list:
    try:
        async with Context.open(path) as ctx:
            return [ctx.tokens(), str(lip.fs.ls("/"))]
    except lip.Error as e:
        return [type(e).__name__, str(lip.fs.ls("/"))]
"""
START = f"""{LIP}(program: str) -> str:
    try:
        child = await lip.spawn(program, path="/none")
        return str(await child.wait())
    except lip.Error as e:
        return type(e).__name__
"""
SAY = f"""{LIP}(text: str) -> None:
    async with lip.channel('talk') as talk:
        await talk.send(text)
        await lip.sleep(60)
"""
HEAR = f"""{LIP}() -> str:
    async with lip.channel('talk') as talk:
        try:
            async with asyncio.timeout(0.5):
                return await talk.receive()
        except TimeoutError:
            return 'nothing'
""".replace("import lip\n", "import lip, asyncio\n", 1)


ASK = f"""{LIP}(n: int) -> int:
    async with Context() as ctx:
        ctx.feed("x" * 200)
        await ctx.flush()
    return n
"""


class Clients(NamedTuple):
    acme: Remote
    beta: Remote
    server: Server[Runtime]


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    home = tmp_path_factory.mktemp("home")
    keys = KeyFile(home / "keys.json")
    acme, beta = (keys.add(tenant, tenant, list(Role))[1] for tenant in ("acme", "beta"))
    config = Config(
        admission=AdmissionLimits(live_of={"beta": 1}, waiting_of={"beta": 1}),
        programs_bytes={"beta": 4000},
        sharers=frozenset({"acme"}),
    )
    with Server(Runtime([FakeEngine()], home=home, config=config), gate=Gate(keys)) as server:
        yield Clients(Remote(server.url, acme), Remote(server.url, beta), server)


def run(client: Remote, source: str, **args: Any) -> Any:
    return client.call("POST", "/v1/run", {"args": json.dumps(args)}, source.encode())["result"]


def failure(client: Remote, method: str, path: str, *rest: Any) -> type[SymphonyError]:
    with pytest.raises(SymphonyError) as caught:
        client.call(method, path, *rest)
    return type(caught.value)


def test_files(clients: Clients) -> None:
    acme, beta, _ = clients
    assert run(acme, KEEP, path="/secret", text="it is hidden") == 12
    tokens, names = run(acme, READ, path="/secret")
    assert bytes(tokens) == b"it is hidden"
    assert "secret" in str(names)
    problem, names = run(beta, READ, path="/secret")
    assert (problem, "secret" in str(names)) == ("NotFound", False)
    assert run(beta, KEEP, path="/secret", text="another") == 7, "the name is free"
    assert bytes(run(acme, READ, path="/secret")[0]) == b"it is hidden"
    assert acme.call("GET", "/v1/fs/secret", {"what": "text"})["text"] == "it is hidden"
    assert beta.call("GET", "/v1/fs/secret", {"what": "text"})["text"] == "another"


def test_shared_names_belong_to_those_who_may_share(clients: Clients) -> None:
    acme, beta, _ = clients
    run(acme, KEEP, path="/shared/news", text="for all")
    assert bytes(run(beta, READ, path="/shared/news")[0]) == b"for all"
    with pytest.raises(SymphonyError) as caught:
        run(beta, KEEP, path="/shared/mine", text="squatted")
    assert "PermissionDenied" in str(caught.value)
    assert failure(beta, "DELETE", "/v1/fs/shared/news") is PermissionDenied
    acme.call("DELETE", "/v1/fs/shared/news")


def test_programs(clients: Clients) -> None:
    acme, beta, _ = clients
    mine = acme.call("POST", "/v1/programs", {"name": "reader"}, READ.encode())
    for ref in ("reader", mine["id"], mine["id"][:12]):
        assert failure(beta, "GET", f"/v1/programs/{ref}") is NotFound
        assert failure(beta, "POST", f"/v1/programs/{ref}/run") is NotFound
        assert failure(beta, "DELETE", f"/v1/programs/{ref}") is NotFound
        assert run(beta, START, program=ref) == "NotFound", "nor by a program's own hand"
    assert run(acme, START, program="reader").startswith("['NotFound'")
    theirs = beta.call("POST", "/v1/programs", {"name": "reader"}, KEEP.encode())
    assert theirs["id"] != mine["id"]
    assert acme.call("GET", "/v1/programs/reader")["id"] == mine["id"]
    same = beta.call("POST", "/v1/programs", {"name": "copy"}, READ.encode())
    assert same["id"] == mine["id"]
    beta.call("DELETE", "/v1/programs/copy")
    assert acme.call("GET", f"/v1/programs/{mine['id']}")["id"] == mine["id"]


def test_channels_and_processes(clients: Clients) -> None:
    acme, beta, _ = clients
    pid = acme.call("POST", "/v1/run", {"args": '{"text": "psst"}', "detach": 1}, SAY.encode())["pid"]
    assert run(beta, HEAR) == "nothing"
    assert run(acme, HEAR) == "psst"
    assert failure(beta, "POST", f"/v1/processes/{pid}/messages", None, b"hello") is NotFound
    assert failure(beta, "DELETE", f"/v1/processes/{pid}") is NotFound
    assert all(process["tenant"] == "beta" for process in beta.call("GET", "/v1/processes")["processes"])
    assert acme.call("DELETE", f"/v1/processes/{pid}")["state"] == "killed"


def test_equal_prompts_of_two_tenants_are_computed_twice(clients: Clients) -> None:
    """Whether somebody else asked the same would show in what is reused, and in the time that it takes."""
    acme, beta, _ = clients
    reused = [
        client.call("POST", "/v1/run", {"args": f'{{"n": {n}}}'}, ASK.encode())["usage"]["reused_tokens"]
        for n, client in enumerate((acme, acme, beta, beta))
    ]
    assert (reused[0], reused[2]) == (0, 0)
    assert min(reused[1], reused[3]) > 100


def test_quotas_of_one_tenant_are_not_the_others(clients: Clients) -> None:
    acme, beta, _ = clients
    assert failure(beta, "POST", "/v1/programs", {"name": "big"}, (READ + "#" * 4000).encode()) is NoSpace
    acme.call("POST", "/v1/programs", {"name": "big"}, (READ + "#" * 4000).encode())
    started = [
        beta.call("POST", "/v1/run", {"args": '{"text": "x"}', "detach": 1}, SAY.encode())["pid"] for _ in range(2)
    ]
    states = [beta.call("GET", f"/v1/processes/{pid}")["state"] for pid in started]
    assert states[1] == "new", "it waits for its tenant's place"
    assert failure(beta, "POST", "/v1/run", {"args": '{"text": "x"}', "detach": 1}, SAY.encode()) is LimitExceeded
    assert run(acme, HEAR) == "nothing"
    for pid in started:
        beta.call("DELETE", f"/v1/processes/{pid}")


def test_stores_are_apart_and_survive(clients: Clients, tmp_path: Path) -> None:
    home = clients.server.runtime._store.path
    assert {path.name for path in (home / "tenants").iterdir()} == {"acme", "beta"}
    assert list((home / "programs" / "objects").glob("*")) == []
    assert failure(clients.acme, "GET", "/v1/programs/..%2fbeta") in (NotFound, Exists)
