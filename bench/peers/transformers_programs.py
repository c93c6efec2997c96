"""The applications of `symphony bench programs` over transformers' continuous batching:

    python transformers_programs.py MODEL_DIR DEVICE THREADS

Runs where symphony is installed: the clients are those of the endpoint. Prefixes are shared in blocks of 32 tokens.
A step has at most 256 tokens: more cost it twice the CPU time where many requests are long (every token is held against
the K/V of all of them), fewer were not tried.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}

from serve import answer_lines

from symphony.bench.programs.clients import CLIENTS, Written, run_jobs
from symphony.bench.programs.ways import NEVER, TEMPERATURE

OPTIONS: dict[str, Any] = {
    "page_size": 32,
    "max_batch_tokens": 256,
    "allow_block_sharing": True,
    "return_logprobs": True,
    "seed": 1,
}
ON_CPU = {"num_blocks": 2048, "use_cuda_graph": False}


class Library:
    """A `Model`; one manager at a time, since a manager either draws or is greedy."""

    def __init__(self, directory: str, device: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).to(device).eval()
        self.model.set_attn_implementation("sdpa")
        self.tokenizer = AutoTokenizer.from_pretrained(directory)
        self.options = OPTIONS | ({} if device.startswith("cuda") else ON_CPU)
        self.stops = self.model.generation_config.eos_token_id
        self.computed = 0
        self.model.register_forward_pre_hook(self._count, with_kwargs=True)
        self.model.lm_head.register_forward_hook(self._go_on)
        self._until_stop = 0
        self._number = 0
        self._manager: Any = None
        self._draws: bool | None = None

    def _count(self, _module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        self.computed += kwargs["input_ids"].shape[-1]

    def _go_on(self, _module: Any, _args: Any, logits: Any) -> None:
        """Where the number of tokens is fixed, no stop token comes: there is no `logit_bias` to ask for."""
        if not self._until_stop:
            logits[..., self.stops] = NEVER

    def begin(self, draws: bool) -> None:
        """A manager that draws, or a greedy one."""
        from transformers import GenerationConfig
        from transformers.generation.configuration_utils import ContinuousBatchingConfig

        if self._draws == draws:
            return
        self.close()
        how = {"do_sample": True, "temperature": TEMPERATURE} if draws else {"do_sample": False}
        self._manager = self.model.init_continuous_batching(
            generation_config=GenerationConfig(eos_token_id=-1, pad_token_id=0, **how),
            continuous_batching_config=ContinuousBatchingConfig(**self.options),
        )
        self._manager.start()
        self._draws = draws

    def close(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=True)

    async def complete(self, prompt: str, tokens: int, n: int = 1, seed: int | None = None) -> list[Written]:
        ids = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return list(await asyncio.gather(*(self._ask(ids, tokens, -1) for _ in range(n))))

    async def chat(self, text: str, tokens: int, schema: Mapping[str, Any] | None = None) -> str:
        turn = [{"role": "user", "content": text}]
        ids = self.tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
        self._until_stop += 1
        try:
            return (await self._ask(ids, tokens, self.stops)).text
        finally:
            self._until_stop -= 1

    async def _ask(self, ids: list[int], tokens: int, stops: int | list[int]) -> Written:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        self._number += 1
        name = f"ask {self._number}"
        self._manager.register_result_handler(name, lambda found: found.is_finished() and done.set_result(found))
        self._manager.add_request(ids, name, max_new_tokens=tokens, eos_token_id=stops)
        found = await done
        if found.error:
            raise RuntimeError(found.error)
        text = self.tokenizer.decode(found.generated_tokens, skip_special_tokens=True)
        return Written(text, sum(found.logprobs))


def main(directory: str, device: str, threads: int) -> None:
    import torch
    import transformers

    torch.set_num_threads(threads)
    library = Library(directory, device)

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        library.begin(asked["drawn"])
        computed, wall, cpu = library.computed, time.perf_counter(), time.process_time()

        async def one(job: dict[str, Any]) -> Any:
            return await CLIENTS[asked["name"]](library, **job)

        results = asyncio.run(run_jobs(one, asked["jobs"], asked["at_once"]))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        return {"results": results, "computed": library.computed - computed, "cpu": cpu, "wall": wall}

    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "attention": "sdpa"}
    answer_lines(versions | {"threads": torch.get_num_threads()} | library.options, answer)
    library.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
