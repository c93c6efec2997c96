"""Muon for the stacked matrices, AdamW for the embedding and the norms; all of its state is a dict of tensors.

The rates were found on this model: norms at the embedding's rate or above run away.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

MATRIX_RATE, EMBED_RATE, NORM_RATE = 0.02, 0.0015, 0.0002
MATRIX_DECAY, EMBED_DECAY = 0.05, 0.01
BETAS = (0.9, 0.95)
NEWTON = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration that brings all singular values near 1."""


def orthogonal(update: Tensor) -> Tensor:
    """[layers, rows, columns]: the nearest thing to each that stretches nothing, roughly."""
    x = update.bfloat16() if update.is_cuda else update
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = NEWTON
    for _ in range(5):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).float()


class Optimizer:
    """`step` once the gradients are there. `state` is what a checkpoint has to hold besides the parameters.

    Numbers that change with the steps are on the device, in one tensor: so nothing is compiled twice."""

    def __init__(self, model: nn.Module, compiled: bool = False) -> None:
        self._parameters = dict(model.named_parameters())
        self._muon = torch.compile(_muon, dynamic=False) if compiled else _muon
        self._adam = torch.compile(_adam, dynamic=False) if compiled else _adam
        self.state: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            self.state[f"{name}.mean"] = torch.zeros_like(parameter)
            if parameter.dim() < 3:
                self.state[f"{name}.square"] = torch.zeros_like(parameter)

    @torch.no_grad()
    def step(self, number: int, scale: float) -> None:
        """Step `number` (from 0), all rates times `scale`; gradients are gone afterwards."""
        flat = [p for p in self._parameters.values() if p.dim() < 3]
        nn.utils.clip_grad_norm_(flat, 1.0)
        momentum = min(0.95, 0.85 + 0.1 * number / 300)
        known = [1 - beta ** (number + 1) for beta in BETAS]
        values = [MATRIX_RATE * scale, momentum, EMBED_RATE * scale, NORM_RATE * scale, *known]
        device = flat[0].device
        numbers = torch.tensor(values, pin_memory=device.type == "cuda").to(device, non_blocking=True)
        for name, parameter in self._parameters.items():
            gradient, mean = parameter.grad, self.state[f"{name}.mean"]
            assert gradient is not None
            if parameter.dim() == 3:
                self._muon(parameter, gradient, mean, numbers[0], numbers[1])
            else:
                rate, decay = (numbers[2], EMBED_DECAY) if name == "embed" else (numbers[3], 0.0)
                self._adam(parameter, gradient, mean, self.state[f"{name}.square"], rate, decay, numbers[4:])
            parameter.grad = None


def _muon(parameter: Tensor, gradient: Tensor, mean: Tensor, rate: Tensor, momentum: Tensor) -> None:
    mean.lerp_(gradient, 1 - momentum)
    update = orthogonal(gradient.lerp(mean, momentum))
    stretch = max(1.0, parameter.shape[-2] / parameter.shape[-1]) ** 0.5
    parameter.mul_(1 - rate * MATRIX_DECAY).sub_(update * (rate * stretch))


def _adam(
    parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor, rate: Tensor, decay: float, known: Tensor
) -> None:
    mean.lerp_(gradient, 1 - BETAS[0])
    square.lerp_(gradient.square(), 1 - BETAS[1])
    update = (mean / known[0]) / ((square / known[1]).sqrt() + 1e-10)
    parameter.mul_(1 - rate * decay).sub_(update * rate)
