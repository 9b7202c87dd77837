"""What follows from a run's cycles, energy and work: seconds, watts, tera-operations a second."""

from __future__ import annotations

from typing import TypedDict

from codesign.units import FLOP_PER_MAC, HZ_PER_MHZ, TERA


class Rates(TypedDict):
    """Fields of a Result, some of them given and the others derived."""

    cycles: int
    latency_s: float
    energy_j: float
    power_w: float
    edp_js: float
    macs: int
    effective_macs: int
    executed_macs: int
    utilisation: float
    dense_tops: float
    effective_tops: float
    peak_tops: float


def rates_of(
    *,
    cycles: int,
    clock_mhz: float,
    energy_j: float,
    macs: int,
    effective_macs: int,
    executed_macs: int,
    peak_macs_per_cycle: float,
) -> Rates:
    """The rates of a run; a run of no cycles has none.

    >>> rates_of(
    ...     cycles=1000, clock_mhz=1000, energy_j=1e-6, macs=256_000, effective_macs=128_000,
    ...     executed_macs=128_000, peak_macs_per_cycle=256,
    ... )["utilisation"]
    0.5
    """
    hz = clock_mhz * HZ_PER_MHZ
    latency_s = cycles / hz
    rate = FLOP_PER_MAC / latency_s / TERA if latency_s else 0.0
    most_macs = cycles * peak_macs_per_cycle
    return {
        "cycles": cycles,
        "latency_s": latency_s,
        "energy_j": energy_j,
        "power_w": energy_j / latency_s if latency_s else 0.0,
        "edp_js": energy_j * latency_s,
        "macs": macs,
        "effective_macs": effective_macs,
        "executed_macs": executed_macs,
        "utilisation": executed_macs / most_macs if most_macs else 0.0,
        "dense_tops": macs * rate,
        "effective_tops": effective_macs * rate,
        "peak_tops": peak_macs_per_cycle * clock_mhz * HZ_PER_MHZ * FLOP_PER_MAC / TERA,
    }
