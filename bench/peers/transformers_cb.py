"""transformers' continuous batching on the CPU: `python transformers_cb.py MODEL_DIR DTYPE THREADS eager|compiled`."""

from __future__ import annotations

import os
import sys

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}

from serve import serve


def main(model: str, dtype: str, threads: int, how: str) -> None:
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, GenerationConfig
    from transformers.generation.configuration_utils import ContinuousBatchingConfig

    torch.set_num_threads(threads)
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    loaded.set_attn_implementation("sdpa")
    options: dict[str, object] = {
        "page_size": 32,
        "num_blocks": 1024,
        "max_batch_tokens": 2048,
        "use_cuda_graph": False,
        "allow_block_sharing": True,
        "default_compile_level": 1 if how == "compiled" else 0,
    }
    greedy = GenerationConfig(max_new_tokens=64, do_sample=False, eos_token_id=-1, pad_token_id=0)
    manager = loaded.init_continuous_batching(
        generation_config=greedy, continuous_batching_config=ContinuousBatchingConfig(**options)
    )
    manager.start()

    def run(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        ids = [manager.add_request(prompt, max_new_tokens=new_tokens) for prompt in prompts]
        done: dict[str, list[int]] = {}
        while len(done) < len(ids):
            result = manager.get_result(timeout=1)
            if result is None:
                continue
            if result.error:
                raise RuntimeError(result.error)
            if result.is_finished():
                done[result.request_id] = list(result.generated_tokens)
        return [done[i] for i in ids]

    versions = {"transformers": transformers.__version__, "torch": torch.__version__, "attention": "sdpa"}
    serve(versions | {"threads": torch.get_num_threads()} | options, run)
    manager.stop(block=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
