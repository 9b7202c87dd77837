"""Do the wafer's cores take the cycles, and compute the numbers, of cores that tick?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.kernels.axpy import pace_rows, step_rows
from tests.reference import axpy_twin


def _packets(keep: np.ndarray, depth: int) -> np.ndarray:
    starts = np.arange(0, keep.shape[1], depth)
    return np.add.reduceat(keep.astype(np.int64), starts, axis=1)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.integers(1, 3),
    k=st.integers(1, 12),
    rows=st.integers(1, 9),
    depth=st.integers(1, 5),
    density=st.floats(0, 1),
    axpy=st.integers(1, 4),
    command=st.integers(1, 4),
    hop=st.integers(1, 6),
    send=st.integers(1, 5),
    sums=st.integers(1, 4),
    window=st.integers(1, 4),
)
def test_equal_to_the_cores_that_tick(
    seed, items, k, rows, depth, density, axpy, command, hop, send, sums, window
) -> None:
    rng = np.random.default_rng(seed)
    act = rng.integers(-9, 10, (items, k))
    keep = rng.random((rows, k)) < density
    w = rng.integers(-9, 10, (rows, k)) * keep
    times = (axpy, command, hop, send, sums, window)
    streamed = [
        [int(v) if kept else None for v, kept in zip(*row, strict=True)]
        for row in zip(w, keep, strict=True)
    ]
    out, ended, complete, axpys = axpy_twin.run(act.tolist(), streamed, depth, *times)
    assert out == (act @ w.T).tolist()
    assert axpys == keep.sum()
    stepped = step_rows(act, w, keep, depth, *times)
    assert stepped[0].tolist() == out
    assert (stepped[1].tolist(), stepped[2].tolist(), stepped[3]) == (ended, complete, axpys)
    paced = pace_rows(_packets(keep, depth), *times)
    assert (paced[0].tolist(), paced[1].tolist()) == (ended, complete)


def test_rows_wait_for_the_slowest_column_when_nothing_is_buffered() -> None:
    packets = np.array([[3, 1], [0, 2], [4, 4]], dtype=np.int64)
    ended, _ = pace_rows(packets, 5, 1, 1, 1, 3, 1)
    assert np.diff(ended, prepend=0).tolist() == [16, 11, 21]


@pytest.mark.parametrize("window", [2, 4, 8])
def test_more_buffers_are_never_slower(window: int) -> None:
    packets = np.random.default_rng(0).integers(0, 9, (40, 16))
    one = pace_rows(packets, 3, 2, 2, 3, window // 2, window // 2)
    two = pace_rows(packets, 3, 2, 2, 3, window, window)
    assert np.all(two[0] <= one[0])
    assert np.all(two[1] <= one[1])
