"""The inner loops of paged attention: queries of a block against the keys of one sequence, a tile at a time.

Scores and sums are kept in fp32, with base-2 exponentials. Head sizes that are no power of two are padded in registers.
"""

# Triton compiles these functions from their source; neither linter nor type checker knows its dialect.
# ruff: noqa: N803
# pyright: basic, reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
# pyright: reportOperatorIssue=false, reportIndexIssue=false

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = 1.4426950408889634


@triton.jit
def _tile(
    pool,
    tiles,
    part_row,
    place,
    first,
    column,
    n,
    hi,
    d,
    D: tl.constexpr,
    DP: tl.constexpr,
    WIDTH: tl.constexpr,
    MASKED: tl.constexpr,
    BULK: tl.constexpr,
):
    """Keys (`part_row` is `k_row`) or values (`v_row`) of a tile, [BN, DP]; see `fold`."""
    if MASKED:
        x = tl.load(pool + part_row * WIDTH + place, mask=(n < hi)[:, None] & (d < D)[None, :], other=0.0)
    elif BULK:
        x = tiles.load([part_row + first.to(tl.int32), column])
    elif D < DP:
        x = tl.load(pool + part_row * WIDTH + place, mask=(d < D)[None, :], other=0.0)
    else:
        x = tl.load(pool + part_row * WIDTH + place)
    return x


@triton.jit
def fold(
    acc,
    m_i,
    l_i,
    q,
    pool,
    tiles,
    k_row,
    v_row,
    page_rows,
    column,
    table,
    lo,
    hi,
    least,
    limit,
    bits,
    mask,
    words,
    scale,
    D: tl.constexpr,
    DP: tl.constexpr,
    WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    BN: tl.constexpr,
    MASKED: tl.constexpr,
    BITS: tl.constexpr,
    BULK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Fold the keys [lo, hi) into the running maximum, sum and output; `lo` is a multiple of BN.

    The pool is rows of WIDTH elements, each the keys or values of an entry in a layer, `page_rows` from page to page;
    those of page 0 begin at `k_row` and `v_row`, a head's elements at `column`. BULK: whole tiles come by the copy
    engine, through `tiles`, a descriptor of the pool.
    MASKED: key n only for rows that see it, least <= n < limit, and with BITS only if their mask's bit n is set or n is
    the last before the limit. `bits`: words of all masks, `words` each; `mask`: which one a row has, or -1.
    """
    d = tl.arange(0, DP)
    for n0 in tl.range(lo, hi, BN):
        n = n0 + tl.arange(0, BN)
        if PAGE >= BN:  # a tile lies inside one page
            first = tl.load(table + n0 // PAGE).to(tl.int64) * page_rows + n0 % PAGE
            row = first + tl.arange(0, BN)
        else:
            first = tl.zeros([1], tl.int64)
            row = tl.load(table + n // PAGE, mask=n < hi, other=0).to(tl.int64) * page_rows + n % PAGE
        place = row[:, None] * WIDTH + column + d[None, :]
        k = _tile(pool, tiles, k_row, place, first, column, n, hi, d, D, DP, WIDTH, MASKED, BULK)
        s = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
        if MASKED:
            seen = (n < hi)[None, :] & (n[None, :] < limit[:, None]) & (n[None, :] >= least[:, None])
            if BITS:
                w = n0 // 32 + tl.arange(0, BN // 32)
                some = (mask >= 0)[:, None] & (w < words)[None, :]
                word = tl.load(bits + mask.to(tl.int64)[:, None] * words + w[None, :], mask=some, other=0)
                word = tl.where(mask[:, None] < 0, -1, word)
                bit = (word[:, :, None] >> tl.arange(0, 32)[None, None, :]) & 1
                allowed = tl.reshape(bit, [q.shape[0], BN]) != 0
                seen = seen & (allowed | (n[None, :] == limit[:, None] - 1))
            s = tl.where(seen, s, float("-inf"))
        m_new = tl.maximum(m_i, tl.max(s, 1))
        m_safe = tl.where(m_new == float("-inf"), 0.0, m_new)
        p = tl.exp2(s - m_safe[:, None])
        shrink = tl.exp2(m_i - m_safe)
        l_i = l_i * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None]
        v = _tile(pool, tiles, v_row, place, first, column, n, hi, d, D, DP, WIDTH, MASKED, BULK)
        acc = tl.dot(p.to(q.dtype), v, acc, input_precision=PRECISION)
        m_i = m_new
    return acc, m_i, l_i


@triton.jit
def sweep(
    q,
    pool,
    tiles,
    k_row,
    v_row,
    page_rows,
    column,
    table,
    lo,
    begin,
    middle,
    hi,
    least,
    limit,
    bits,
    mask,
    words,
    scale,
    D: tl.constexpr,
    DP: tl.constexpr,
    WIDTH: tl.constexpr,
    PAGE: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    WINDOW: tl.constexpr,
    BITS: tl.constexpr,
    BULK: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Attention of a block to the keys [lo, hi): [BM, DP], and the log-sum-exp of the scores, [BM].

    All rows see all keys of the whole tiles up to `middle`, with WINDOW from `begin` on; the rest is masked as in
    `fold`, whose other arguments these are.
    """
    m_i = tl.full([BM], float("-inf"), tl.float32)
    l_i = tl.zeros([BM], tl.float32)
    acc = tl.zeros([BM, DP], tl.float32)
    if WINDOW:
        begin = tl.minimum(tl.maximum(begin, lo), middle)
        acc, m_i, l_i = fold(
            acc, m_i, l_i, q, pool, tiles, k_row, v_row, page_rows, column, table, lo, begin, least, limit,
            bits, mask, words, scale, D, DP, WIDTH, PAGE, BN, True, BITS, BULK, PRECISION,
        )  # fmt: skip
        lo = begin
    acc, m_i, l_i = fold(
        acc, m_i, l_i, q, pool, tiles, k_row, v_row, page_rows, column, table, lo, middle, least, limit,
        bits, mask, words, scale, D, DP, WIDTH, PAGE, BN, False, BITS, BULK, PRECISION,
    )  # fmt: skip
    acc, m_i, l_i = fold(
        acc, m_i, l_i, q, pool, tiles, k_row, v_row, page_rows, column, table, middle, hi, least, limit,
        bits, mask, words, scale, D, DP, WIDTH, PAGE, BN, True, BITS, BULK, PRECISION,
    )  # fmt: skip
    norm = tl.where(l_i > 0, l_i, 1.0)
    return acc / norm[:, None], tl.where(l_i > 0, m_i + tl.log2(norm), float("-inf"))
