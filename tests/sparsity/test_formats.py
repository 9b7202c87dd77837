"""Do storage formats give back what was packed, in exactly the bytes that they state?"""

from __future__ import annotations

from math import ceil, comb, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codesign.config import CodesignError
from codesign.sparsity.formats import (
    BSR,
    CSR,
    Bitmap,
    Channels,
    DenseFormat,
    NMCompact,
    PackedSize,
    RunLength,
    expected_bytes,
    unpack,
)
from codesign.sparsity.mask import Mask
from codesign.sparsity.pattern import DENSE, NM, Block, Rows, Unstructured, parse_pattern

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

axes = st.sampled_from(["in", "out"])
codings = st.sampled_from(["fields", "combinatorial"])
any_mask = st.one_of(
    st.just(DenseFormat()),
    st.just(Bitmap()),
    st.builds(CSR, st.integers(5, 33), st.integers(10, 62)),
    st.builds(BSR, st.integers(1, 9), st.integers(1, 9), st.integers(5, 33), st.integers(10, 62)),
    axes.map(Channels),
    st.integers(1, 9).map(RunLength),
)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=24)
weights_of = hnp.arrays(
    st.sampled_from([np.int64, np.float16, np.int8]), shapes, elements=st.integers(-5, 5)
)


def check_round_trip(storage, weights, mask):
    packed = storage.pack(weights, mask)
    expected = np.where(mask.to_dense(), weights, 0)
    assert np.array_equal(unpack(packed), expected)
    assert unpack(packed).dtype == weights.dtype
    assert packed.values.dtype == weights.dtype
    size = storage.packed_bytes(mask, "int8")
    assert size.value_bytes == packed.values.size
    assert size.metadata_bytes == sum(stream.nbytes for stream in packed.metadata)
    assert all(stream.dtype == np.uint8 for stream in packed.metadata)


@given(any_mask, weights_of, st.floats(0, 1), st.integers(0, 99))
def test_any_mask_comes_back_from_its_stated_bytes(storage, weights, density, seed):
    kept = np.random.default_rng(seed).random(weights.shape) < density
    check_round_trip(storage, weights, Mask.from_dense(kept))


@given(st.integers(1, 6), st.integers(0, 6), axes, codings, weights_of, st.integers(0, 99))
def test_n_of_m_comes_back_from_its_stated_bytes(n, more, axis, coding, weights, seed):
    sampled = NM(n, n + more, axis).sample(*weights.shape, seed).to_dense()
    kept = sampled & (np.random.default_rng(seed).random(weights.shape) < 0.8)
    check_round_trip(NMCompact(n, n + more, axis, coding), weights, Mask.from_dense(kept))


@pytest.mark.parametrize(("n", "m"), [(32, 64), (1, 64), (63, 64), (30, 60), (1, 1), (5, 5)])
def test_combinatorial_codes_reach_their_largest_numbers(n, m):
    weights = np.arange(1, 2 * m + 1).reshape(2, m)
    kept = np.zeros((2, m), bool)
    kept[0, :n] = kept[1, m - n :] = True
    check_round_trip(NMCompact(n, m, "in", "combinatorial"), weights, Mask.from_dense(kept))
    size = NMCompact(n, m, "in", "combinatorial").packed_bytes(Mask.from_dense(kept), "int8")
    assert size.metadata_bytes == ceil(2 * ceil(log2(comb(m, n))) / 8)


@pytest.mark.parametrize(
    "text", ["dense", "2:4", "1:8@out", "3:3", "unstructured(0.9)", "unstructured(0)",
             "block(4x8, 0.5)", "row(0.3)", "column(0.8)"],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(16, 32), (7, 13), (1, 1)])
@pytest.mark.parametrize("dtype", ["fp16", "int4", "fp32", "bool"])
def test_expected_bytes_are_those_of_every_sampled_mask(text, shape, dtype):
    pattern = parse_pattern(text)
    expected = expected_bytes(pattern, *shape, dtype)
    for seed in range(3):
        mask = pattern.sample(*shape, seed)
        assert pattern.format.packed_bytes(mask, dtype) == expected
        assert expected_bytes(
            pattern, *shape, dtype, storage=CSR(), seed=seed
        ) == CSR().packed_bytes(mask, dtype)


MASK = Mask.from_dense(
    np.array(
        [
            [1, 0, 0, 1, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 1, 0, 0, 0, 0, 1],
        ],
        bool,
    )
)


@pytest.mark.parametrize(
    ("storage", "size"),
    [
        (DenseFormat(), PackedSize(24 * 2, 0)),
        (Bitmap(), PackedSize(4 * 2, 3)),
        # 4 pointers of 16 bits, 4 indices of 4 bits
        (CSR(4, 16), PackedSize(4 * 2, 8 + 2)),
        # blocks (0, 0), (1, 0), (1, 1) of 2 x 4; 3 pointers and 3 indices of 8 bits
        (BSR(2, 4, 8, 8), PackedSize(3 * 8 * 2, 3 + 3)),
        # rows 0 and 2; columns 0, 2, 3 and 7
        (Channels("out"), PackedSize(16 * 2, 1)),
        (Channels("in"), PackedSize(12 * 2, 1)),
        # gaps 0, 2, 14, 4: with 2 bits the gap of 14 takes 3 fillers, that of 4 one
        (RunLength(2), PackedSize(8 * 2, 2)),
        (RunLength(4), PackedSize(4 * 2, 2)),
        # 6 groups, 2 slots of 2 bits each
        (NMCompact(2, 4), PackedSize(12 * 2, 3)),
        # C(4, 2) = 6 choices take 3 bits a group
        (NMCompact(2, 4, "in", "combinatorial"), PackedSize(12 * 2, 3)),
        # groups of 3 neighbours down a column: one slot of 2 bits for each of 8 columns
        (NMCompact(1, 3, "out"), PackedSize(8 * 2, 2)),
    ],
    ids=str,
)
def test_bytes_worked_out_by_hand(storage, size):
    assert storage.packed_bytes(MASK, "fp16") == size


@pytest.mark.parametrize(("dtype", "value_bytes"), [("int4", 2), ("bool", 1), ("fp64", 24)])
def test_values_smaller_than_a_byte_are_rounded_up_once(dtype, value_bytes):
    assert DenseFormat().packed_bytes(Mask.full(1, 3), dtype) == PackedSize(value_bytes, 0)


def test_streams_worked_out_by_hand():
    weights = np.arange(24).reshape(3, 8)
    compact = NMCompact(2, 4).pack(weights, Mask.from_dense(MASK.to_dense() | False))
    assert compact.values.tolist() == [0, 3, 0, 0, 0, 0, 0, 0, 0, 18, 0, 23]
    # slots (0, 3) (0, 1) (0, 1) (0, 1) (0, 2) (0, 3), two bits each, the first lowest
    assert compact.metadata[0].tolist() == [0b01001100, 0b01000100, 0b11001000]
    runs = RunLength(2).pack(weights + 1, MASK)
    assert runs.values.tolist() == [1, 4, 0, 0, 0, 19, 0, 24]
    csr = CSR(8, 8).pack(weights + 1, MASK)
    assert [stream.tolist() for stream in csr.metadata] == [[0, 2, 2, 4], [0, 3, 2, 7]]


@pytest.mark.parametrize(
    ("text", "bytes_per_weight"), [("2:4", 1.125), ("2:8", 0.59375), ("2:16", 0.3125)]
)
def test_compact_fp16_bytes_per_dense_weight(text, bytes_per_weight):
    """SAT (BDWP) keeps ceil(log2 M) bits beside each 2-byte value."""
    assert (
        expected_bytes(parse_pattern(text), 256, 1024, "fp16").bytes
        == bytes_per_weight * 256 * 1024
    )


def test_nvidia_2_of_4_takes_36_bits_for_64():
    size = expected_bytes(NM(2, 4), 64, 64, "fp16")
    assert size.bytes * 8 * 64 == 64 * 64 * 16 * 36
    assert size.metadata_bytes * 8 == 64 * 64 // 4 * 4


@pytest.mark.parametrize(
    ("n", "m", "k", "filters"), [(1, 4, 64, 96), (2, 4, 363, 96), (4, 8, 364, 8)]
)
def test_scale_sim_ellpack_words(n, m, k, filters):
    """SCALE-Sim 3 stores Ke * N values and Ke * N * ceil(log2 M) / 32 words, Ke rows kept of K."""
    rows_kept = k // m * n + min(k % m, n)
    size = expected_bytes(NM(n, m), filters, k, "int8")
    assert size.value_bytes == rows_kept * filters
    assert size.metadata_bytes == ceil(rows_kept * filters * ceil(log2(m)) / 8)


@pytest.mark.parametrize("bits", [3, 5, 7])
def test_the_combinatorial_bound_of_2_of_m(bits):
    """SLoPe, equation 4.7: 3, 5 and 7 bits a group for 2:4, 2:8 and 2:16."""
    m = {3: 4, 5: 8, 7: 16}[bits]
    mask = NM(2, m).sample(8, 8 * m, 0)
    assert (
        NMCompact(2, m, "in", "combinatorial").packed_bytes(mask, "int8").metadata_bytes == 8 * bits
    )


def test_kept_values_come_back_bit_for_bit():
    weights = np.array([[-0.0, np.inf, np.nan, 1e-45]], np.float32)
    for storage in (DenseFormat(), Bitmap(), CSR(), BSR(2, 3), RunLength(), NMCompact(4, 4)):
        back = unpack(storage.pack(weights, Mask.full(1, 4)))
        assert back.tobytes() == weights.tobytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NMCompact(1, 4).pack(np.zeros((3, 8)), MASK), "more than 1 in a group"),
        (lambda: Bitmap().pack(np.zeros((8, 3)), MASK), "shape"),
        (lambda: CSR(2, 16).packed_bytes(MASK, "fp16"), "cannot hold the number 7 in 2 bits"),
        (lambda: CSR(8, 2).packed_bytes(MASK, "fp16"), "cannot hold the number 4 in 2 bits"),
        (lambda: BSR(1, 1, 2, 32).packed_bytes(MASK, "fp16"), "cannot hold the number 7"),
        (lambda: BSR(0, 1), "at least one element"),
        (lambda: CSR(0, 32), "1 to 62 bits"),
        (lambda: RunLength(63), "1 to 62 bits"),
        (lambda: NMCompact(5, 4), "1 <= N <= M"),
        (lambda: NMCompact(2, 128, "in", "combinatorial"), "M <= 64"),
        (lambda: Bitmap().packed_bytes(MASK, "fp12"), "unknown data type 'fp12'"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(make, message):
    with pytest.raises(CodesignError, match=message):
        make()


def test_patterns_name_the_format_that_fits_them():
    assert DENSE.format == NM(4, 4).format == Unstructured(0).format == DenseFormat()
    assert NM(2, 4, "out").format == NMCompact(2, 4, "out")
    assert Unstructured(0.5).format == Bitmap()
    assert Block(4, 8, 0.5).format == BSR(4, 8)
    assert Rows(0.5).format == Channels("out")
