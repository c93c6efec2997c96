"""Symphony's engine under its core: `python symphony_core.py MODEL_DIR DTYPE THREADS native|torch`.

KV files, prefix cache, scheduler, model and sampler, as programs use them; no sandbox and no HTTP, which the peers do
not have either.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count

from serve import serve


def main(model: str, dtype: str, threads: int, how: str) -> None:
    os.environ["SYMPHONY_NATIVE"] = "1" if how == "native" else "0"
    import torch

    from symphony.core.core import Core
    from symphony.core.messages import GenerateOptions
    from symphony.engine.local import LocalEngine

    engine = LocalEngine.load(model, device="cpu", dtype=dtype, threads=threads)
    torch.set_num_threads(threads)
    core = Core([engine])
    numbers = count(1)
    events: dict[int, asyncio.Event] = {}
    core.connect(lambda op, _payload: events[op].set())

    async def one(prompt: list[int], new_tokens: int) -> list[int]:
        session, op = core.open_session("bench"), next(numbers)
        event = events[op] = asyncio.Event()
        await core.generate(
            session, await core.create(session, None), op, prompt, GenerateOptions(max_tokens=new_tokens)
        )
        tokens: list[int] = []
        while True:
            await event.wait()
            event.clear()
            chunk = await core.next(session, op)
            if chunk is not None:
                tokens += chunk.tokens
                if chunk.finish is not None:
                    break
        await core.close_session(session)
        del events[op]
        return tokens

    async def all_of_them(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        return await asyncio.gather(*(one(prompt, new_tokens) for prompt in prompts))

    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        steps = loop.create_task(core.run())
        said = engine.describe()
        options = {key: said[key] for key in ("attention", "dtype", "pages")}
        serve({"torch": torch.__version__, "threads": threads} | options, lambda p, n: runner.run(all_of_them(p, n)))
        runner.run(core.close())
        loop.run_until_complete(steps)
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
