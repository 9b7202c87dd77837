"""What a simulation says: one frozen row for each operator and one for the whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from codesign.arch.base import Assumption


@dataclass(frozen=True, slots=True, kw_only=True)
class OpResult:
    """One operator of a simulated trace.

    `cycles` is the operator's share of the total: the cycles by which it moved the end of the run,
    so the shares of all operators add up to the whole. `start_cycle` and `end_cycle` span its
    steps, which may overlap with those of other operators.
    """

    name: str
    layer: str
    kind: str
    phase: str
    shape: str
    pattern: str
    mapping: str
    note: str | None
    bound_by: str
    """What the operator waited for most: compute, memory, vector, latency, or a machine's word."""
    cycles: int
    start_cycle: int
    end_cycle: int
    busy_cycles: Mapping[str, int]
    macs: int
    effective_macs: int
    executed_macs: int
    utilisation: float
    dram_bytes: int
    bytes_by_memory: Mapping[str, int]
    energy_pj_by_part: Mapping[str, float]
    roofline_cycles: int

    @property
    def energy_pj(self) -> float:
        return sum(self.energy_pj_by_part.values())


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Result:
    """One workload on one machine.

    `macs` counts the dense work of the trace, `effective_macs` the part on kept weights, and
    `executed_macs` what the machine issued. `utilisation` is executed MACs over the MACs that the
    array could have issued in the cycles of the run. One MAC is two FLOP.
    """

    workload: str
    arch: str
    machine: str
    phase: str
    sparsity: str
    fidelity: str
    kind: str
    """simulated, measured or published."""
    cycles: int
    clock_mhz: float
    latency_s: float
    energy_j: float
    energy_j_by_part: Mapping[str, float]
    """Energy of the modelled devices, by part; `energy_j` is their sum."""
    board_energy_j: float | None = None
    """Energy as the supply of the whole board sees it, from coefficients of boards; None where the
    machine file has none. Never part of `energy_j`."""
    area_mm2: float
    area_mm2_by_part: Mapping[str, float]
    die_mm2: float | None
    """Whole die as its maker states it; `area_mm2` is of the modelled cells and macros alone."""
    power_w: float
    edp_js: float
    macs: int
    effective_macs: int
    executed_macs: int
    utilisation: float
    dense_tops: float
    """Dense-equivalent rate: 2 * macs / latency."""
    effective_tops: float
    """Rate on kept weights: 2 * effective_macs / latency."""
    peak_tops: float
    """Dense peak of the machine for this trace's matrix products."""
    dram_bytes: int
    bytes_by_memory: Mapping[str, int]
    counters: Mapping[str, int] = field(default_factory=dict)
    """Totals of all actions: bytes of memories, operations, commands, events such as row hits."""
    busy_cycles: Mapping[str, int]
    stall_cycles: Mapping[str, int]
    roofline_cycles: int
    bound_by: str
    accuracy: float | None
    parameters: int
    ops: tuple[OpResult, ...]
    assumptions: tuple[Assumption, ...]
    notes: tuple[str, ...]
    seed: int
    trace_fingerprint: str
    arch_fingerprint: str
    version: str

    def __repr__(self) -> str:
        """One line, for notebooks: what ran, where, and what it cost."""
        return (
            f"Result({self.workload} on {self.arch}, {self.phase}, {self.sparsity}, "
            f"{self.fidelity}: {self.latency_s:.4g} s, {self.energy_j:.4g} J, "
            f"{self.area_mm2:.4g} mm², {len(self.ops)} operators)"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready values, field for field."""
        fields: dict[str, Any] = _plain(asdict(self))
        return fields


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
