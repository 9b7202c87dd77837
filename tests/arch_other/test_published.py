"""Do the CPU machines stay near what is published of them, and the wafer inside its band?"""

from __future__ import annotations

from statistics import fmean

import pytest

from codesign.measure import validate_published_cpu as cpu
from codesign.measure import validate_published_wafer as wafer
from codesign.measure.mobile_networks import mobilenet_v1, mobilenet_v2
from codesign.trace.workload import load_workload


def test_mobile_networks_have_the_published_work() -> None:
    assert mobilenet_v1(1.0).macs == load_workload("mobilenet_v1").macs
    assert mobilenet_v2(1.0).macs / 300e6 == pytest.approx(1, abs=0.02)
    assert mobilenet_v2(1.4).macs / 585e6 == pytest.approx(1, abs=0.02)


def test_mobile_latencies_fitted_and_not_fitted() -> None:
    fitted = [cpu.mobile_ms("mobilenet_v1", w, 0.9) / ms - 1 for w, ms in cpu.V1_SPARSE_MS.items()]
    held = [cpu.mobile_ms("mobilenet_v2", w, s) / ms - 1 for (w, s), ms in cpu.V2_SPARSE_MS.items()]
    dense = [cpu.mobile_ms(name, 1.0, 0.0) / ms - 1 for name, ms in cpu.XNNPACK_MS.items()]
    assert fmean(map(abs, fitted)) < 0.10
    assert fmean(map(abs, dense)) < 0.10
    assert fmean(map(abs, held)) < 0.15


def test_rows_that_are_left_out_speed_up_as_published() -> None:
    for model, by in cpu.ROWS_SPEEDUP.items():
        for fraction, published in by.items():
            assert cpu.rows_speedup(model, fraction) == pytest.approx(published, rel=0.05)


def test_a_condensed_layer_beats_a_dense_and_an_unstructured_one() -> None:
    found = cpu.srigl()
    for over, published in cpu.SRIGL.items():
        assert found[over] == pytest.approx(published, rel=0.15)


def test_decoding_gains_from_cores_until_memory_is_full() -> None:
    one, four = cpu.tokens_per_s(1), cpu.tokens_per_s(4)
    assert 2 < four / one < 4
    for cores, published in cpu.TOKENS_PER_S.items():
        assert cpu.tokens_per_s(cores) == pytest.approx(published, rel=0.25)


def test_sparse_8_bit_weights_decode_as_much_faster_as_their_bytes() -> None:
    assert cpu.mpt_speedup() == pytest.approx(cpu.MPT_SPEEDUP, rel=0.15)


@pytest.mark.slow
def test_the_suites_pass() -> None:
    assert cpu.run().passed
    assert wafer.run().passed
