"""Where a model goes: on which device, in which dtype, with how many pages there and in the host's memory.

It knows nothing of weights.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch

from symphony import param
from symphony.engine.config import ModelConfig
from symphony.errors import Invalid, NoSpace, Unavailable

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def find_device(name: str | None) -> torch.device:
    """A CPU, or a CUDA device with its index; None takes a GPU if there is one. Raises Invalid, Unavailable."""
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as e:
        raise Invalid(f"there is no device {name!r}", "use cpu, cuda or cuda:N") from e
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise Invalid(f"the device {name!r} is not supported", "use cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise Unavailable("there is no CUDA device that torch can use", "use --device cpu")
    index = int(name.partition(":")[2] or torch.cuda.current_device())
    if index >= torch.cuda.device_count():
        raise Unavailable(f"there is no {name}", f"there are {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", index)


def find_dtype(name: str | None, config: ModelConfig, device: torch.device) -> torch.dtype:
    """None is fp32 on a CPU, else the checkpoint's own. Raises Invalid."""
    if name is None:
        name = "float32" if device.type == "cpu" else config.dtype
    if name not in DTYPES:
        raise Invalid(f"there is no dtype {name!r}", f"use {', '.join(DTYPES)}")
    return DTYPES[name]


def device_name(device: torch.device) -> str:
    """For people."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({os.cpu_count()} cores)"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a model may take where others are to be loaded too."""

    pool_bytes: int | None = None
    """Bytes of a GPU's memory for its pages; None: most of what is free once its weights are loaded."""
    host_share: float = 1.0
    """Of all that the host has for pages."""


ALONE = Budget()


def pool_pages(page_bytes: int, page_size: int, context_limit: int, device: torch.device, budget: Budget) -> int:
    """Pages of a pool whose size was not given: at least one full context on a CPU, what is free on a GPU.

    Raises NoSpace.
    """
    if device.type == "cpu":
        return 1 + max(param.KV_POOL_BYTES_CPU // page_bytes, math.ceil(context_limit / page_size))
    count = (most_pool_bytes(device) if budget.pool_bytes is None else budget.pool_bytes) // page_bytes
    if count < 2:
        raise NoSpace("the free GPU memory holds no KV pages", "use a smaller model, fewer models, or another GPU")
    return count


def most_pool_bytes(device: torch.device, weights: int = 0) -> int:
    """Bytes that pages may take on a GPU, once so many more bytes of weights are loaded; 0 on a CPU."""
    if device.type == "cpu":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return max(int((free - weights) * param.KV_POOL_SHARE_GPU), 0)


def host_pages(page_bytes: int, device: torch.device, budget: Budget) -> int:
    """Slots of a host tier whose size was not given."""
    if device.type == "cpu":
        return int(param.KV_HOST_BYTES_CPU * budget.host_share) // page_bytes
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = min(param.KV_HOST_BYTES_GPU, int(memory * param.KV_HOST_SHARE_GPU))
    return int(most * budget.host_share) // page_bytes
