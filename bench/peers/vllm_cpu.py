"""vLLM on the CPU, in a process of its own: `python vllm_cpu.py MODEL_DIR DTYPE THREADS eager|compiled`."""

from __future__ import annotations

import os
import sys

os.environ |= {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}

from serve import serve


def main(model: str, dtype: str, threads: int, how: str) -> None:
    os.environ["OMP_NUM_THREADS"] = str(threads)
    import torch
    import vllm
    from vllm.inputs import TokensPrompt

    torch.set_num_threads(threads)
    options: dict[str, object] = {
        "dtype": dtype,
        "max_model_len": 2048,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 2048,
        "enable_prefix_caching": True,
        "block_size": 32,
        "enforce_eager": how == "eager",
    }
    llm = vllm.LLM(model, skip_tokenizer_init=True, disable_log_stats=True, **options)
    torch.set_num_threads(threads)

    def run(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        sampling = vllm.SamplingParams(temperature=0, max_tokens=new_tokens, ignore_eos=True, detokenize=False)
        asked = [TokensPrompt(prompt_token_ids=prompt) for prompt in prompts]
        return [list(x.outputs[0].token_ids) for x in llm.generate(asked, sampling, use_tqdm=False)]

    versions = {"vllm": vllm.__version__, "torch": torch.__version__, "threads": torch.get_num_threads()}
    serve(versions | options, run)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
