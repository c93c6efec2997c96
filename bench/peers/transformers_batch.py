"""transformers' continuous batching on one device, all requests handed in at once:

    python transformers_batch.py MODEL_DIR DEVICE ATTENTION ROWS PROMPT_TOKENS NEW_TOKENS ROUNDS

Prints `RESULT` and a JSON object: tokens a second of each round after one that does not count, and what it ran with.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}


def main(model: str, device: str, attention: str, rows: int, prompt_tokens: int, new_tokens: int, rounds: int) -> None:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    loaded = AutoModelForCausalLM.from_pretrained(model, attn_implementation=attention, dtype=dtype).to(device).eval()
    greedy = GenerationConfig(max_new_tokens=new_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
    options: dict[str, object] = {"allow_block_sharing": False}
    options |= {"max_memory_percent": 0.5} if device.startswith("cuda") else {"page_size": 32, "num_blocks": 1024}
    rates: list[float] = []
    for seed in range(rounds + 1):
        noise = random.Random(seed)
        low, high = min(512, loaded.config.vocab_size // 2), loaded.config.vocab_size
        prompts = [[noise.randrange(low, high) for _ in range(prompt_tokens)] for _ in range(rows)]
        begin = time.perf_counter()
        done = loaded.generate_batch(
            inputs=prompts,
            generation_config=greedy,
            continuous_batching_config=ContinuousBatchingConfig(**options),
            progress_bar=False,
        )
        seconds = time.perf_counter() - begin
        rates.append(sum(len(result.generated_tokens) for result in done.values()) / seconds)
    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "attention": attention}
    print("RESULT", json.dumps({"rates": rates[1:], "with": versions | options}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:4], *map(int, sys.argv[4:8]))
