"""Dense and 2:4 products on GPUs against measured times, and against a fitted roofline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np

from codesign.arch import load_arch
from codesign.arch.gpu_kernels import Float64
from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError
from codesign.measure.calibrate import Roofline3, fit_roofline
from codesign.measure.compare import Decision, decide, error_rows, mean_error, paired
from codesign.measure.gpu_rows import (
    Protocol,
    Rows,
    data_files,
    machine_name,
    predict,
    protocols,
    read_rows,
)
from codesign.measure.suite import (
    Group,
    TableRow,
    ValidationReport,
    compare,
    left_out,
    report,
    without_data,
)
from codesign.metrics.technology import arithmetic
from codesign.units import PJ_PER_J, DTypeName

_SIXTEEN_BIT: tuple[DTypeName, ...] = ("fp16", "bf16")
_LENT = ("warm", "burst", "rate", "memory")
DATA_FILE = "gpu"
TAKES_FOLDER = True

BOUNDS = {"dense": 0.10, "2:4": 0.12}
TRANSFER_BOUND = 0.15
DECISION_BOUND = 0.95
SAMPLE = Path(__file__).with_name("gpu_sample.csv")
DENSE_DONORS = {
    "h100_sxm": "h200",
    "h200": "h100_sxm",
    "h100_nvl": "h100_sxm",
    "h100_pcie": "h100_sxm",
    "a100_sxm_80gb": "a100_pcie_80gb",
    "a100_pcie_80gb": "a100_sxm_80gb",
    "rtx4090": "a100_pcie_80gb",
}
SPARSE_DONORS = {
    "h100_pcie": "a100_pcie_80gb",
    "a100_pcie_80gb": "rtx4090",
    "rtx4090": "a100_pcie_80gb",
}
"""For each calibrated machine another one whose kernels were fitted to its own rows, to lend
them."""


@dataclass(frozen=True)
class Scored:
    """A group of rows with its predictions; `held` are the rows that no constant was fitted on."""

    rows: Rows
    machine: TensorCore
    predicted: Float64
    baseline: Float64
    held: np.ndarray
    calibrated: bool
    donor: str = ""

    @property
    def pairs(self) -> list[tuple[float, float]]:
        here = self.held
        return list(
            zip(self.predicted[here].tolist(), self.rows.latency_us[here].tolist(), strict=True)
        )


def run(path: Path | None = None) -> ValidationReport:
    """Score every row of the CSV files of a folder, or of one file, or of the package's sample."""
    skipped = without_data("folder gpu") if path is None else None
    scored, beside = scored_groups(SAMPLE if path is None else path)
    counted = list(_error_groups(scored) if path is not None else _pooled(scored))
    table = [row for one in scored for row in _table(one)]
    transfer = list(_transfers(scored)) if path is not None else []
    beside += _transfer_groups(transfer)
    table += [row for one in transfer for row in _table(one, "board treated as unknown")]
    decisions, decision_rows = _decisions(scored)
    table += decision_rows
    if decisions is not None:
        beside.append(decisions)
    return report("gpu", counted, beside, skipped_reason=skipped, table=table)


def scored_groups(path: Path) -> tuple[list[Scored], list[Group]]:
    """The groups of rows of a folder or file with their predictions, and those that are left out.

    Raises CodesignError for a folder without such files and for faults of a file.
    """
    files = data_files(path) if path.is_dir() else [path]
    if not files:
        raise CodesignError(f"{path}: no CSV file has the columns of measured products")
    groups = read_rows(files)
    scored, beside = [], []
    for rows in groups:
        name = machine_name(rows.gpu)
        machine = None if name is None else _machine(name)
        if machine is None:
            beside.append(left_out(rows.name, len(rows), f"no machine file for {rows.gpu}"))
        elif rows.dtype not in machine.spec.mma:
            beside.append(left_out(rows.name, len(rows), f"no {rows.dtype} tensor cores"))
        elif rows.pattern == "2:4" and machine.spec.sparse is None:
            beside.append(left_out(rows.name, len(rows), "no 2:4 tensor cores"))
        else:
            scored.append(_score(rows, machine, groups))
    return scored, beside


@cache
def _machine(name: str) -> TensorCore | None:
    machine = load_arch(name)
    return machine if isinstance(machine, TensorCore) else None


def is_calibrated(machine: TensorCore, rows: Rows) -> bool:
    """Whether the kernels that run the rows, and the rate of their type, were fitted to this
    board."""
    field = "dense" if rows.pattern == "dense" else "sparse"
    source = machine.spec.source_of(f"{field}.step_cycles")
    kernels = machine.kernels(rows.form)
    return source is not None and source.status == "measured" and rows.dtype in kernels.sustained


def _score(rows: Rows, machine: TensorCore, groups: Sequence[Rows]) -> Scored:
    protocol = protocols().find(rows)
    calibrated = is_calibrated(machine, rows) and protocol.gpu == rows.gpu
    held = ~rows.in_fit if calibrated else np.ones(len(rows), dtype=np.bool_)
    baseline = _baseline(rows, machine, calibrated, groups)
    return Scored(
        rows, machine, predict(machine, rows, protocol), baseline.predict(machine, rows),
        held, calibrated,
    )  # fmt: skip


def _baseline(
    rows: Rows, machine: TensorCore, calibrated: bool, groups: Sequence[Rows]
) -> Roofline3:
    """The roofline fitted to the board's own fitted half, or to another board for one that is
    unknown."""
    if calibrated:
        return fit_roofline(machine, rows)
    for other in groups:
        same = (other.origin, other.pattern, other.dtype) == (
            rows.origin, rows.pattern, rows.dtype,
        )  # fmt: skip
        name = machine_name(other.gpu)
        donor = None if name is None else _machine(name)
        if same and other.gpu != rows.gpu and donor is not None and other.dtype in donor.spec.mma:
            return fit_roofline(donor, other)
    return fit_roofline(machine, rows)


def _error_groups(scored: Sequence[Scored]) -> Iterator[Group]:
    for one in scored:
        if not one.held.any():
            continue
        bound = BOUNDS[one.rows.pattern] if one.calibrated else TRANSFER_BOUND
        roofline = mean_error([(one.baseline[one.held], one.rows.latency_us[one.held])])
        fitted = "other (n,k) of a calibrated board" if one.calibrated else "board not calibrated"
        yield compare(
            one.rows.name, one.pairs, within=bound,
            note=f"{fitted}; roofline-3 {roofline:.1%}",
        )  # fmt: skip


def _pooled(scored: Sequence[Scored]) -> Iterator[Group]:
    """All boards together: the sample has too few rows of each for a bound of its own."""
    for pattern, bound in BOUNDS.items():
        found = [one for one in scored if one.rows.pattern == pattern]
        pairs = [pair for one in found for pair in one.pairs]
        yield compare(f"{pattern}, all boards", pairs, within=bound)


def _table(one: Scored, section: str = "errors by batch") -> Iterator[TableRow]:
    yield from error_rows(section, one.rows, one.predicted, one.baseline, one.held)


def unknown(machine: TensorCore, donor: TensorCore, *, sparse: bool) -> TensorCore:
    """A board as if only its data sheet were known: kernels and energy of a MAC are the donor's.

    Energy follows the process node as in `metrics.technology`. Nothing that was fitted to the board
    itself is left: rates come from the power model, whose
    energy is the one that explains the donor's sustained rate of the same kernels.
    """
    field = "sparse" if sparse else "dense"
    kernels = getattr(donor.spec, field)
    node, other = (one.spec.technology.node_nm for one in (machine, donor))
    scale = arithmetic("multiply", "fp16", "pj", node).value
    scale /= arithmetic("multiply", "fp16", "pj", other).value
    pj = scale * implied_mac_pj(donor, kernels.sustained)
    power = machine.spec.power.model_copy(update={"mac_pj_at_1ghz": pj, "sparse_factor": 1.0})
    bare: dict[str, object] = {"sustained": {}}
    lent_kernels = kernels.model_copy(update=bare)
    return TensorCore(machine.spec.model_copy(update={field: lent_kernels, "power": power}))


def implied_mac_pj(machine: TensorCore, sustained: Mapping[DTypeName, float]) -> float:
    """Energy of a 16-bit MAC at 1 GHz with which the power model gives the board's fitted rate."""
    spec = machine.spec
    share = next((sustained[name] for name in _SIXTEEN_BIT if name in sustained), 1.0)
    ghz = share * spec.clock_mhz / 1000
    per_cycle = spec.sm.count * spec.mma["fp16"]
    left_w = spec.power.limit_w - spec.power.idle_w
    per_s = per_cycle * 1e9 * ghz ** (1 + spec.power.exponent)
    return float(left_w / per_s * PJ_PER_J)


def lent(rows: Rows) -> Protocol:
    """The protocol of the origin's other boards, with the offset of this board's own timer.

    An origin that measured one board alone lends its protocol whole.
    """
    own = protocols().find(rows)
    others = [
        p
        for p in protocols().protocols
        if (p.origin, p.library, p.cutlass) == (own.origin, own.library, own.cutlass)
        and p.gpu not in ("", own.gpu)
    ]
    if not others:
        return own
    typical = {name: median(getattr(p, name) for p in others) for name in _LENT}
    return own.model_copy(update=typical)


def _donor(one: Scored) -> TensorCore | None:
    donors = DENSE_DONORS if one.rows.pattern == "dense" else SPARSE_DONORS
    name = donors.get(one.machine.spec.name)
    return None if name is None else _machine(name)


def _transfers(scored: Sequence[Scored]) -> Iterator[Scored]:
    for one in scored:
        donor = _donor(one)
        if donor is None or not one.calibrated:
            continue
        machine = unknown(one.machine, donor, sparse=one.rows.pattern != "dense")
        predicted = predict(machine, one.rows, lent(one.rows))
        same = [
            o
            for o in scored
            if o.machine.spec.name == donor.spec.name
            and (o.rows.dtype, o.rows.pattern) == (one.rows.dtype, one.rows.pattern)
        ]
        same.sort(key=lambda o: o.rows.origin != one.rows.origin)
        source = same[0] if same else one
        fitted = fit_roofline(source.machine, source.rows)
        timer = fit_roofline(one.machine, one.rows).t0_us
        baseline = Roofline3(timer, fitted.compute, fitted.memory).predict(machine, one.rows)
        everywhere = np.ones(len(one.rows), dtype=np.bool_)
        yield Scored(one.rows, machine, predicted, baseline, everywhere, False, donor.spec.name)


def _transfer_groups(transfer: Sequence[Scored]) -> list[Group]:
    groups = []
    for one in transfer:
        roofline = mean_error([(one.baseline, one.rows.latency_us)])
        groups.append(
            compare(
                f"as unknown: {one.rows.name}",
                one.pairs,
                within=TRANSFER_BOUND,
                note=f"kernels of {one.donor}; roofline-3 {roofline:.1%}",
            )
        )
    return groups


def _decisions(scored: Sequence[Scored]) -> tuple[Group | None, list[TableRow]]:
    """Is 2:4 faster than dense, over the shapes of which both were measured and none was fitted."""
    rows: list[TableRow] = []
    found: list[Decision] = []
    for dense in scored:
        for sparse in scored:
            same = ("gpu", "dtype", "origin")
            if dense.rows.pattern != "dense" or sparse.rows.pattern != "2:4":
                continue
            if any(getattr(dense.rows, f) != getattr(sparse.rows, f) for f in same):
                continue
            at_dense, at_sparse = paired(dense.rows, sparse.rows)
            keep = dense.held[at_dense]
            if not keep.any():
                continue
            one = decide(_times(dense, at_dense[keep]), _times(sparse, at_sparse[keep]))
            found.append(one)
            rows.append(
                {
                    "section": "is 2:4 faster than dense",
                    "case": f"{dense.rows.gpu} {dense.rows.dtype}, {dense.rows.origin}",
                    "shapes": one.shapes,
                    "right": one.accuracy,
                    "roofline-3 right": one.baseline_right / one.shapes,
                    "within 5 %": one.contested,
                    "of them right": one.contested_right,
                }
            )
    if not found:
        return None, rows
    shapes, right = sum(d.shapes for d in found), sum(d.right for d in found)
    baseline = sum(d.baseline_right for d in found)
    contested = sum(d.contested for d in found)
    contested_right = sum(d.contested_right for d in found)
    note = (
        f"{right} of {shapes} right ({right / shapes:.1%}); roofline-3 {baseline / shapes:.1%}; "
        f"of {contested} shapes within 5 % {contested_right}"
    )
    group = Group(
        name="decision: is 2:4 faster than dense", rows=shapes, exact_rows=right, max_abs_diff=0,
        mape=None, bound=f"at least {DECISION_BOUND:.0%} right",
        passed=right >= DECISION_BOUND * shapes, note=note,
    )  # fmt: skip
    return group, rows


def _times(one: Scored, at: np.ndarray) -> tuple[Float64, Float64, Float64]:
    return one.predicted[at], one.rows.latency_us[at], one.baseline[at]
