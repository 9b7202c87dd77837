"""Rebuilds every fitted constant of the GPUs from a folder of measured products.

`python -m codesign.measure.calibrate DIR` reads the CSV files of DIR, does the fits of
`gpu_calibration.yaml` in their order from round numbers, and writes the constants, each with the
rows that gave it, into the machine files, `gpu_protocols.yaml`, `gpu_operators.yaml` and
`gpu_transfer.yaml`. The same data give the same files.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from codesign.arch import list_archs, load_arch
from codesign.arch.gpu_kernels import KernelLibrary
from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError
from codesign.measure.gpu_claim_fit import fit_claimed
from codesign.measure.gpu_files import (
    SPLIT,
    Calibrated,
    write_machine,
    write_protocols,
    write_timers,
    write_transfers,
)
from codesign.measure.gpu_fit import KERNEL_FIELDS, Case, Fit, fit_cases
from codesign.measure.gpu_operators import OperatorRows, read_operators
from codesign.measure.gpu_power import PowerLaw, fit_power, start_law
from codesign.measure.gpu_rows import Protocol, Protocols, Rows, data_files, read_rows
from codesign.measure.gpu_settings import (
    PARTS,
    BoardRows,
    Part,
    ProtocolRows,
    part_of,
    settings,
)
from codesign.measure.gpu_stream_fit import fit_streams
from codesign.measure.gpu_transfer import Lent

Boards = Mapping[tuple[str, Part], Fit]


def shipped_gpus() -> dict[str, TensorCore]:
    """The machines of this family, by name."""
    found = {name: load_arch(name) for name, _ in list_archs()}
    return {name: one for name, one in found.items() if isinstance(one, TensorCore)}


def calibrate(groups: Sequence[Rows], operators: Sequence[OperatorRows]) -> Calibrated:
    """Do all fits. Raises CodesignError where the data lack rows that a fit wants."""
    machines, streamed = shipped_gpus(), settings().streams
    boards = {
        (one.machine, one.kernels): fit_board(machines[one.machine], one, groups)
        for one in settings().boards
    }
    _say(boards)
    law = fit_power([case for fit in boards.values() for case in fit.cases])
    families = {
        (wide, part): fit_family(boards, law, wide, part)
        for wide in (False, True)
        for part in PARTS
    }
    others = [fit_protocol(one, boards, groups) for one in settings().protocols]
    protocols = _protocols([*boards.values(), *others])
    timed = (*typical(protocols, law), *protocols)
    rates = {
        case.machine.spec.name: dict(case.kernels.sustained)
        for one, fit in zip(settings().protocols, others, strict=True)
        if one.rates
        for case in fit.cases
    }
    operated = [o for o in operators if (o.origin, o.gpu) == (streamed.origin, streamed.gpu)]
    streams = fit_streams(machines[streamed.machine], operated)
    transfers = {name: leave_out(name, boards) for name in sorted({name for name, _ in boards})}
    law = fit_claimed(law, families, Protocols(protocols=timed))
    return Calibrated(boards, law, families, timed, rates, transfers, streams)


def fit_board(machine: TensorCore, source: BoardRows, groups: Sequence[Rows]) -> Fit:
    """Kernels, sustained rates and timing of one board, from round numbers."""
    start = settings().start
    protocol = Protocol(origin=source.origin, library=source.library, **start.protocol)  # type: ignore[arg-type]
    plain = start_law().on(machine)
    cases = [
        Case(plain, rows, protocol).with_kernels(start.kernels)
        for rows in _of(source, groups)
        if part_of(rows) == source.kernels
    ]
    return fit_cases(cases)


def fit_protocol(source: ProtocolRows, boards: Boards, groups: Sequence[Rows]) -> Fit:
    """How another origin timed a calibrated board; its kernels stay as they are."""
    found = _of(source, groups)
    floor = min(float(r.where(r.in_fit).latency_us.min()) for r in found) if source.floor else 0.0
    neutral = {"burst": 0.0, "warm": 0.0}
    start = {
        name: value if name in source.fields else neutral[name]
        for name, value in {**settings().start.protocol, **source.start}.items()
    }
    protocol = Protocol(
        origin=source.origin, library=source.library, cutlass=source.cutlass, floor_us=floor,
        powers_of_two=source.powers_of_two, **start,  # type: ignore[arg-type]
    )  # fmt: skip
    machine = boards[source.machine, "dense"].cases[0].machine
    return fit_cases(
        [Case(machine, rows, protocol) for rows in found],
        kernels=(), protocol=source.fields, rates=source.rates,
    )  # fmt: skip


def fit_family(boards: Boards, law: PowerLaw, warp_groups: bool, part: Part) -> Fit:
    """Kernels that boards with the same matrix instructions have in common, rates by the law."""
    return fit_common(
        [
            law.case(case)
            for (_, kernels), fit in boards.items()
            for case in fit.cases
            if kernels == part and case.machine.spec.sm.warp_groups == warp_groups
        ]
    )


def fit_common(cases: Sequence[Case]) -> Fit:
    """Kernels that fit all cases at once; only kernels are fitted."""
    plan = settings()
    return fit_cases(
        [case.with_kernels(plan.start.kernels) for case in cases],
        protocol=(), rates=False,
        most_rows=plan.settings.family_rows, rounds=plan.settings.family_rounds,
        pull=plan.settings.family_pull,
    )  # fmt: skip


def leave_out(name: str, boards: Boards) -> Lent:
    """What is known of a board when all its rows are taken away: power law and kernels of others.

    Kernels are those of its family, or of all other boards where no other one of it is measured.
    """
    rest = {key: fit for key, fit in boards.items() if key[0] != name}
    law = fit_power([case for fit in rest.values() for case in fit.cases])
    wide = next(f.cases[0].machine.spec.sm.warp_groups for k, f in boards.items() if k[0] == name)
    found: dict[Part, KernelLibrary] = {}
    for _, part in [key for key in boards if key[0] == name]:
        cases = [law.case(c) for key, fit in rest.items() if key[1] == part for c in fit.cases]
        near = [case for case in cases if case.machine.spec.sm.warp_groups == wide]
        found[part] = fit_common(near or cases).cases[0].kernels
    return Lent(
        exponent=law.exponent, sparse_factor=law.sparse_factor, mac_pj_at_1ghz=law.energy(name),
        bursts=law.bursts,
        kernels={part: {n: getattr(one, n) for n in KERNEL_FIELDS} for part, one in found.items()},
    )  # fmt: skip


def typical(protocols: Sequence[Protocol], law: PowerLaw) -> list[Protocol]:
    """One entry for each origin and library, for boards that have none of their own.

    Clocks (`rate`, `memory`) belong to a board, not to an origin, and are left at those of the
    data sheet; but an older library is slower than today's on every board, and its rate is lent
    where it was seen on several.
    """
    groups: dict[tuple[str, str, bool], list[Protocol]] = {}
    for one in protocols:
        groups.setdefault((one.origin, one.library, one.cutlass), []).append(one)
    out = []
    for (_, library, cutlass), members in groups.items():
        values = {
            name: median(getattr(p, name) for p in members)
            for name in ("offset_us", "warm", "burst", "floor_us")
        }
        if not cutlass and library in law.bursts:
            values["burst"] = law.bursts[library]
        dtype = members[0].dtype if cutlass else ""
        older = members[0].powers_of_two and len({p.gpu for p in members}) > 1
        note = "median of the boards below, burst of the power law"
        update = {
            **values,
            "rate": median(p.rate for p in members) if older else 1.0,
            "memory": 1.0,
            "gpu": "",
            "dtype": dtype,
            "fitted_on": note,
        }
        out.append(members[0].model_copy(update=update))
    return out


def _say(boards: Boards) -> None:
    for (name, part), fit in boards.items():
        print(f"{name} {part}: {fit.rows} rows, mean |log error| {fit.error:.4f}", flush=True)


def _of(source: BoardRows | ProtocolRows, groups: Sequence[Rows]) -> list[Rows]:
    found = [rows for rows in groups if source.has(rows)]
    if not found:
        wanted = f"{source.gpu}, {source.origin}, {source.library}"
        raise CodesignError(f"the data hold no rows of {wanted}, which a fit wants")
    return found


def _protocols(fits: Iterable[Fit]) -> list[Protocol]:
    """An entry for each case; without a type where an origin measured a board in one type alone."""
    cases = [case for fit in fits for case in fit.cases]
    same = Counter(_timing(case) for case in cases)
    return [
        case.protocol.model_copy(
            update={
                "gpu": case.rows.gpu,
                "dtype": case.rows.dtype
                if same[_timing(case)] > 1 or case.protocol.cutlass
                else "",
                "fitted_on": f"{case.rows.name}, {SPLIT}: {int(case.rows.in_fit.sum())} rows",
            }
        )
        for case in cases
    ]


def _timing(case: Case) -> tuple[str, str, str, bool]:
    return (case.rows.origin, case.rows.library, case.rows.gpu, case.protocol.cutlass)


def main(data: Path, archs: Path) -> None:
    """Fit, and write machine files in `archs` and the two files beside this module."""
    files = data_files(data)
    found = calibrate(read_rows(files), read_operators(files))
    for name in shipped_gpus():
        write_machine(archs / f"{name}.yaml", name, found)
    here = Path(__file__).parent
    write_protocols(here / "gpu_protocols.yaml", found.protocols)
    write_timers(here / "gpu_operators.yaml", found.streams.timers)
    write_transfers(here / "gpu_transfer.yaml", found.transfers)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "arch_configs"))
