"""One power law for all boards: what a board's limit leaves of the peak rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_fit import Case, least
from codesign.measure.gpu_rows import Float64, Rows
from codesign.measure.gpu_settings import PARTS, settings


@dataclass(frozen=True)
class PowerLaw:
    """Constants of `arch.gpu_parts.Power` that boards share, and bursts by library."""

    exponent: float
    sparse_factor: float
    mac_pj: dict[str, float]
    """Energy of a 16-bit MAC at 1 GHz, by process."""
    bursts: dict[str, float]
    """How far short runs of a library's timing loop exceed the sustained rate: `Protocol.burst`."""

    def energy(self, machine: str) -> float:
        """Energy of a 16-bit MAC at 1 GHz of a machine, in pJ."""
        plan = settings()
        process = plan.process_of(machine) or plan.claimed_process_of(machine)
        if process is not None:
            return self.mac_pj[process]
        one = next(d for d in plan.derived_processes.values() if machine in d.machines)
        return self.mac_pj[one.of] * one.factor

    def on(self, machine: TensorCore) -> TensorCore:
        """The machine with this law in place of measured rates."""
        spec = machine.spec
        power = spec.power.model_copy(
            update={
                "exponent": self.exponent,
                "sparse_factor": self.sparse_factor,
                "mac_pj_at_1ghz": self.energy(spec.name),
            }
        )
        bare: dict[str, object] = {
            part: library.model_copy(update={"sustained": {}})
            for part in PARTS
            if (library := getattr(spec, part)) is not None
        }
        return TensorCore(spec.model_copy(update={"power": power, **bare}))

    def case(self, case: Case) -> Case:
        """A case whose rate and bursts follow the law."""
        burst = self.bursts.get(case.rows.library, 0.0)
        protocol = case.protocol.model_copy(update={"burst": burst, "rate": 1.0})
        return replace(case, machine=self.on(case.machine), protocol=protocol)


def start_law() -> PowerLaw:
    """The round numbers that the fit of the law starts from."""
    plan = settings()
    libraries = dict.fromkeys(board.library for board in plan.boards)
    return PowerLaw(
        **plan.start.power,
        mac_pj={
            **{name: one.start for name, one in plan.processes.items()},
            **{name: one.start for name, one in plan.claimed_processes.items()},
        },
        bursts=dict.fromkeys(libraries, plan.start.protocol["burst"]),
    )


def fit_power(cases: Sequence[Case]) -> PowerLaw:
    """The law under which large products of all cases take their measured times.

    The cases come with fitted kernels; least mean over the cases of the mean |log error|.
    """
    plan = settings()
    chosen = plan.settings
    used = [replace(case, rows=rows) for case in cases if len(rows := _large(case)) > 0]
    first = start_law()
    processes = sorted(
        {name for c in used if (name := plan.process_of(c.machine.spec.name)) is not None}
    )
    libraries = sorted({case.rows.library for case in used})
    burst = plan.start.protocol["burst"]

    def read(z: Float64) -> PowerLaw:
        factors = iter(np.exp(z).tolist())
        return PowerLaw(
            exponent=first.exponent * next(factors),
            sparse_factor=max(1.0, first.sparse_factor * next(factors)),
            mac_pj={**first.mac_pj, **{p: first.mac_pj[p] * next(factors) for p in processes}},
            bursts={
                **first.bursts,
                **{name: min(1.0, burst * next(factors)) for name in libraries},
            },
        )

    total = sum(len(case.rows) for case in used)

    def loss(z: Float64) -> float:
        law = read(z)
        apart = [float(np.abs(law.case(case).log_errors()).mean()) for case in used]
        return float(np.mean(apart) + chosen.pull * float(z @ z) / total)

    return read(least(loss, 2 + len(processes) + len(libraries), chosen.power_rounds))


def _large(case: Case) -> Rows:
    chosen = settings().settings
    _, m, n, k = case.rows.sizes.T
    big = (m >= chosen.power_least_m) & (n * k >= chosen.power_least_weights)
    return case.rows.where(big).fitted_sample(chosen.power_rows, chosen.seed)
