"""Are latencies, quantiles and energies right on a device whose costs are known?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.measure.gpu_timing import (
    ENERGY_S,
    FEWEST_REPEATS,
    MOST_COPIES,
    MOST_REPEATS,
    WINDOW_US,
    Sample,
    measure_energy,
    measure_latency,
    quantile,
    typical,
)
from tests.measure_gpu.fake_device import FakeDevice


def test_a_warm_launch_never_pays_for_a_flush_and_a_cold_one_always_does() -> None:
    device = FakeDevice(warm_us=10, cold_us=25)
    warm, _ = measure_latency(device, device.launch, cold=False)
    assert (warm.p10_us, warm.median_us, warm.p90_us) == pytest.approx((10, 10, 10))
    assert warm.copies == 20
    assert device.flushes == 0
    cold, board = measure_latency(device, device.launch, cold=True)
    assert (cold.p10_us, cold.median_us, cold.p90_us) == pytest.approx((25, 25, 25))
    assert cold.copies == 1
    assert device.flushes == cold.count + 3
    assert board == Sample(1980.0, 3201.0, 500.0, 50.0)


def test_quantiles_are_those_of_the_repeats_and_not_of_the_pilot() -> None:
    jitter = [1e4, 0.0, 0.0, *np.random.default_rng(1).exponential(5, 3000)]
    device = FakeDevice(cold_us=400, jitter_us=jitter)
    found, _ = measure_latency(device, device.launch, cold=True)
    times = 400 + np.array(jitter[3 : 3 + found.count])
    wanted = np.quantile(times, [0.1, 0.5, 0.9])
    assert (found.p10_us, found.median_us, found.p90_us) == pytest.approx(tuple(wanted))
    assert found.p10_us < found.median_us < found.p90_us


@given(st.floats(0.05, 5e5), st.booleans())
def test_repeats_fill_the_window_within_their_limits(us: float, cold: bool) -> None:
    device = FakeDevice(warm_us=us, cold_us=us)
    found, _ = measure_latency(device, device.launch, cold=cold)
    assert FEWEST_REPEATS <= found.count <= MOST_REPEATS
    assert 1 <= found.copies <= MOST_COPIES
    spent = found.count * (us * found.copies + (70 if cold else 0))
    assert spent <= 1.01 * WINDOW_US or found.count == FEWEST_REPEATS


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 1))
def test_quantile_equals_numpy(values: list[float], share: float) -> None:
    wanted = float(np.quantile(values, share))
    assert quantile(sorted(values), share) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_energy_is_that_of_the_loop_alone_and_lasts_three_seconds() -> None:
    device = FakeDevice(warm_us=40, cold_us=40, power_w=640)
    found, board = measure_energy(device, device.launch)
    assert ENERGY_S <= found.seconds < ENERGY_S + 0.2
    assert found.energy_j == pytest.approx(640 * found.seconds)
    assert found.launches == pytest.approx(found.seconds / 40e-6)
    assert found.counted
    assert board.power_w == 640


def test_the_state_of_the_board_is_that_of_the_loop_and_not_of_the_warm_up() -> None:
    device = FakeDevice()
    device.sample = lambda: Sample(temperature_c=device.now_s())  # type: ignore[method-assign]
    found, board = measure_energy(device, device.launch)
    assert board.temperature_c == pytest.approx(device.now_s() - found.seconds / 2, abs=0.06)


def test_without_a_counter_energy_is_sampled_power_times_time() -> None:
    device = FakeDevice(power_w=640, counter=False)
    found, _ = measure_energy(device, device.launch)
    assert not found.counted
    assert found.energy_j == pytest.approx(640 * found.seconds)


def test_the_idle_board_is_left_alone() -> None:
    device = FakeDevice(idle_w=90)
    found, _ = measure_energy(device, None)
    assert (found.launches, device.launches) == (0, 0)
    assert found.energy_j == pytest.approx(90 * found.seconds)


def test_a_quantity_that_the_board_does_not_tell_stays_unknown() -> None:
    samples = [Sample(power_w=1.0), Sample(power_w=5.0, sm_mhz=7.0), Sample(power_w=2.0)]
    assert typical(samples) == Sample(sm_mhz=7.0, power_w=2.0)
