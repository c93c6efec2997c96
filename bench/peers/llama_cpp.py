"""llama.cpp's server on the CPU: `python llama_cpp.py MODEL_DIR DTYPE THREADS SLOTS`. Makes the GGUF file it needs."""

from __future__ import annotations

import sys
import threading
from importlib import metadata
from pathlib import Path

import xllamacpp
from gguf_file import convert, token_ids
from serve import serve


def main(model: str, dtype: str, threads: int, slots: int) -> None:
    file = Path(model) / f"model-{dtype}.gguf"
    if not file.exists():
        convert(Path(model), file, dtype)
    p = xllamacpp.CommonParams()
    p.model.path = str(file)
    p.n_ctx, p.n_parallel, p.kv_unified, p.cont_batching = 24 * 1280, slots, True, True
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
    p.cache_ram_mib, p.warmup = 256, False
    server = xllamacpp.Server(p)

    def run(prompts: list[list[int]], new_tokens: int) -> list[list[int]]:
        out: list[list[int]] = [[] for _ in prompts]
        failed: list[str] = []

        def ask(i: int) -> None:
            request = {"prompt": prompts[i], "n_predict": new_tokens, "temperature": 0, "ignore_eos": True}
            answer = server.handle_completions(request | {"cache_prompt": True})
            if isinstance(answer, dict) and answer.get("usage", {}).get("completion_tokens") == new_tokens:
                words = token_ids(answer["choices"][0]["text"])
                out[i] = words[:new_tokens] + [-1] * (new_tokens - len(words))  # bytes have no word
            else:
                failed.append(str(answer))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        if failed:
            raise RuntimeError(failed[0])
        return out

    options = {"n_ctx": p.n_ctx, "n_parallel": slots, "kv_unified": True, "flash_attn": "auto", "KV": "f16"}
    serve({"xllamacpp": metadata.version("xllamacpp"), "weights": dtype, "threads": threads} | options, run)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
