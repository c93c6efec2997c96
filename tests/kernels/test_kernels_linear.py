"""Native products equal torch's, whatever follows them, and a row's result depends on no other row.

Without a compiler the same tests run on what takes their place.
"""

from __future__ import annotations

import pytest
import torch

from symphony.engine import linears
from symphony_kernels import onednn
from symphony_kernels.native import linear as native
from symphony_kernels.native.build import SWITCH, find_compiler

SHAPES = ((32, 7), (96, 64), (1024, 512), (64, 2500))
ROWS = (1, 2, 3, 5, 6, 7, 11, 12, 13, 64, 300)


@pytest.fixture(params=["native", "torch"])
def kind(request, monkeypatch) -> str:
    monkeypatch.setenv(SWITCH, "0" if request.param == "torch" else "1")
    return request.param


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def weights(out: int, inner: int, biased: bool) -> list[torch.Tensor | None]:
    random = torch.Generator().manual_seed(out + inner)
    pair = [torch.randn(out, inner, generator=random) * inner**-0.5 for _ in range(2)]
    return [*pair, *([torch.randn(out, generator=random) for _ in range(2)] if biased else [None, None])]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equal_torch(kind, threads, shape, biased):
    gate, up, gate_bias, up_bias = weights(*shape, biased)
    linear, plain = linears.linear(gate, gate_bias), linears.PlainLinear(gate, gate_bias)
    gated = linears.gated(gate, up, gate_bias, up_bias)
    plain_gated = linears.PlainGated(gate, up, gate_bias, up_bias)
    ours = find_compiler() is not None and kind == "native"
    assert isinstance(linear, linears.NativeLinear) == ours
    assert isinstance(gated, linears.NativeGated) == ours
    for rows in ROWS:
        x, other = torch.randn(rows, shape[1]) * 3, torch.randn(rows, shape[0])
        before = x.clone(), other.clone()
        torch.testing.assert_close(linear(x), plain(x), atol=3e-5, rtol=1e-5)
        torch.testing.assert_close(linear.plus(x, other), plain.plus(x, other), atol=3e-5, rtol=1e-5)
        torch.testing.assert_close(gated(x), plain_gated(x), atol=1e-4, rtol=1e-5)
        assert torch.equal(x, before[0])
        assert torch.equal(other, before[1])


def test_a_row_does_not_depend_on_others(threads):
    packed = native.pack(weights(1024, 512, False)[0])
    if packed is None:
        assert find_compiler() is None
        return
    x = torch.randn(300, 512)
    every = packed(x)
    for rows in ROWS:
        assert torch.equal(packed(x[:rows]), every[:rows])
        assert torch.equal(packed(x[-rows:]), every[-rows:])


def test_rows_that_do_not_lie_together():
    gate = weights(96, 64, False)[0]
    x = torch.randn(64, 10).t()
    torch.testing.assert_close(linears.linear(gate)(x), x @ gate.t(), atol=1e-5, rtol=1e-5)


def test_what_is_not_finite_stays_in_its_row(kind):
    gate, up, _, _ = weights(96, 64, False)
    gated, x = linears.gated(gate, up), torch.randn(7, 64)
    x[3], x[4] = float("nan"), 1e30
    out = gated(x)
    assert not out[3].isfinite().any()
    assert out[[0, 1, 2, 5, 6]].isfinite().all()
    clean = x.clone()
    clean[3:5] = 0
    assert torch.equal(out[[0, 1, 2, 5, 6]], gated(clean)[[0, 1, 2, 5, 6]])


def test_large_and_small_gates(kind):
    """silu far from zero, on both sides."""
    eye = torch.eye(32)
    gated = linears.gated(eye, torch.ones(32, 32) / 32)
    x = torch.linspace(-120, 120, 32).repeat(3, 1)
    expected = torch.nn.functional.silu(x) * x.mean(-1, keepdim=True)
    torch.testing.assert_close(gated(x), expected, atol=1e-4, rtol=1e-5)


def test_what_it_is_not_written_for():
    assert native.pack(torch.randn(33, 64)) is None
    assert native.pack(torch.randn(32, 64).double()) is None
    assert isinstance(linears.linear(torch.randn(33, 64)), linears.PackedLinear | linears.PlainLinear)


@pytest.mark.parametrize("instructions", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_narrow_weights(kind, threads, biased, instructions, monkeypatch):
    """bf16 weights, fp32 rows. Where the processor has no instructions for bf16, what asks oneDNN is asked of torch."""
    monkeypatch.setattr(onednn, "NARROW", instructions)
    if instructions:
        monkeypatch.setattr(onednn, "pack", lambda weight: weight)
        monkeypatch.setattr(onednn, "linear", torch.nn.functional.linear)
    gate, up, gate_bias, up_bias = weights(96, 64, biased)
    gate, up = gate.bfloat16(), up.bfloat16()
    linear, gated = linears.linear(gate, gate_bias), linears.gated(gate, up, gate_bias, up_bias)
    ours = find_compiler() is not None and kind == "native" and not instructions
    assert isinstance(linear, linears.NativeLinear) == ours
    assert isinstance(gated, linears.NativeGated) == ours
    plain = linears.PlainLinear(gate.float(), gate_bias)
    plain_gated = linears.PlainGated(gate.float(), up.float(), gate_bias, up_bias)
    for rows in ROWS:
        x, other = torch.randn(rows, 64), torch.randn(rows, 96)
        off = 2e-5 if ours else 5e-2  # only the native operation leaves the rows as they are
        for got, expected in (
            (linear(x), plain(x)),
            (linear.plus(x, other), plain.plus(x, other)),
            (gated(x), plain_gated(x)),
        ):
            assert got.dtype == torch.float32
            torch.testing.assert_close(got, expected, atol=off, rtol=off)


def test_many_rows_are_left_to_onednn_where_that_is_faster(monkeypatch):
    if find_compiler() is None:
        assert not native.wide_vectors()
        return
    monkeypatch.setattr(native, "wide_vectors", lambda: True)
    gate, up, _, _ = weights(96, 64, False)
    linear, gated = linears.linear(gate), linears.gated(gate, up)
    for rows in (linears.FEW_ROWS, linears.FEW_ROWS + 1):
        x, other = torch.randn(rows, 64), torch.randn(rows, 96)
        torch.testing.assert_close(linear(x), x @ gate.t(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(linear.plus(x, other), x @ gate.t() + other, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gated(x), linears.PlainGated(gate, up)(x), atol=1e-5, rtol=1e-5)
