"""Does the compiled search for a tiling find what its definition finds, to the last bit?"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from codesign.schedule.fitting import Budget, best_tiling, fitting_tilings
from codesign.schedule.folds import Array
from codesign.schedule.streaming import Link
from codesign.schedule.tiling import Tiling
from codesign.schedule.tilings import Layout, Tilings, estimates, quickest_tiling
from codesign.trace.network import conv_op
from codesign.trace.op import Kind, Op, Phase
from codesign.trace.training import backward_data_op, backward_weight_op
from codesign.trace.window import window
from tests.reference.tiling_twin import estimate


def _op(rng: np.random.Generator) -> Op:
    phase = rng.choice([Phase.FORWARD, Phase.BACKWARD_DATA, Phase.BACKWARD_WEIGHT])
    if rng.random() < 0.4:
        m, n, k = (int(rng.integers(1, 400)) for _ in range(3))
        groups, shared = int(rng.choice([1, 1, 6])), bool(rng.random() < 0.3)
        return Op(
            name="x", kind=Kind.GEMM, phase=phase, m=m, n=n, k=k, groups=groups, b_shared=shared,
            a_dtype=str(rng.choice(["fp16", "int8", "int4"])),
        )  # fmt: skip
    many, kernel, dilation = (int(rng.choice(of)) for of in ([2, 2, 3], [1, 2, 3], [1, 1, 2, 7]))
    reach = (kernel - 1) * dilation + 1
    channels, outputs, batch = (int(rng.integers(1, 70)) for _ in range(3))
    conv = window(
        batch % 4 + 1, [reach + int(rng.integers(28 if many == 2 else 6)) for _ in range(many)],
        (channels, outputs), [kernel] * many, stride=[int(rng.choice([1, 2, 3]))],
        padding=[int(rng.integers(kernel))], dilation=[dilation],
        transposed=bool(rng.random() < 0.3),
    )  # fmt: skip
    op = conv_op("x", conv, weight=None, phase=Phase.FORWARD, deps=(), dtype="fp16")
    if phase is Phase.FORWARD:
        return op
    gradient = backward_weight_op if phase is Phase.BACKWARD_WEIGHT else backward_data_op
    return gradient(op, ())


def _budget(rng: np.random.Generator) -> Budget:
    a, b, c = (int(rng.integers(16, 1 << int(rng.integers(6, 18)))) for _ in range(3))
    return Budget(
        a, b, c, n_granule=int(rng.choice([1, 4, 16])), k_granule=int(rng.choice([1, 8, 24])),
        b_density=float(rng.choice([1.0, 0.3, 0.5625])), sum_bytes=int(rng.choice([2, 4])),
    )  # fmt: skip


def _layout(rng: np.random.Generator, op: Op) -> Layout:
    array = Array(*(int(rng.integers(1, high)) for high in (20, 20, 9, 9, 4, 3, 3)))
    width = None if rng.random() < 0.1 else float(rng.uniform(0.5, 200))
    return Layout(
        array, Link(width, int(rng.integers(0, 60))), group=int(rng.choice([1, 4, 8])),
        slots=float(rng.choice([1.0, 2.0, 3.37])), a_bytes=op.a_bytes,
        b_bytes=op.b_bytes * float(rng.choice([1.0, 0.4])), c_bytes=op.c_bytes,
        holds_sums=bool(rng.random() < 0.5),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(300))
def test_the_kernel_is_its_definition(seed: int) -> None:
    """Equal tiling and equal cycles on random products, budgets and arrays."""
    rng = np.random.default_rng(seed)
    op, budget = _op(rng), _budget(rng)
    layout = _layout(rng, op)
    expected = best_tiling(op, budget, partial(estimate, layout=layout))
    assert quickest_tiling(op, budget, layout) == expected


def _columns(tilings: list[Tiling]) -> Tilings:
    sizes = np.array([(t.m, t.n, t.k, t.groups) for t in tilings], dtype=np.int64).reshape(-1, 4)
    return Tilings(*sizes.T, np.array([t.order == "mn" for t in tilings], dtype=bool))


@pytest.mark.parametrize("seed", range(60))
def test_columns_cost_what_their_rows_cost(seed: int) -> None:
    """Estimates of many tilings at once are those of each."""
    rng = np.random.default_rng(1000 + seed)
    op, budget = _op(rng), _budget(rng)
    layout = _layout(rng, op)
    tilings = list(fitting_tilings(op, budget))
    cycles, moved = estimates(op, _columns(tilings), layout)
    each = [estimate(op, tiling, layout) for tiling in tilings]
    assert [*zip(cycles.tolist(), moved.tolist(), strict=True)] == each
