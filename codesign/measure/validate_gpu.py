"""Dense and 2:4 products on GPUs against measured times, and against a fitted roofline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from codesign.measure.compare import error_rows, mean_error, weight_rows
from codesign.measure.gpu_decisions import decisions
from codesign.measure.gpu_operators import operator_groups
from codesign.measure.gpu_rows import data_files
from codesign.measure.gpu_scores import Scored, scored_groups, transferred
from codesign.measure.gpu_trust import called, crossings
from codesign.measure.suite import (
    Group,
    TableRow,
    ValidationReport,
    compare,
    report,
    without_data,
)

DATA_FILE = "gpu"
TAKES_FOLDER = True

BOUNDS = {"dense": 0.10, "2:4": 0.12}
TRANSFER_BOUND = 0.15
SAMPLE = Path(__file__).with_name("gpu_sample.csv")


def run(path: Path | None = None) -> ValidationReport:
    """Score every row of the CSV files of a folder, or of one file, or of the package's sample."""
    skipped = without_data("folder gpu") if path is None else None
    scored, beside = scored_groups(SAMPLE if path is None else path)
    counted = list(_error_groups(scored) if path is not None else _pooled(scored))
    table = [row for one in scored for row in _table(one)]
    table += [row for one in scored for row in _shapes(one)]
    transfer = list(transferred(scored)) if path is not None else []
    beside += _transfer_groups(transfer)
    table += [row for one in transfer for row in _table(one, "board treated as unknown")]
    beside += operator_groups(data_files(path)) if path is not None and path.is_dir() else []
    decided, decision_rows = decisions(scored)
    table += decision_rows
    beside += [] if decided is None else [decided]
    beside += called(scored, transfer) + crossings(scored, transfer)
    return report("gpu", counted, beside, skipped_reason=skipped, table=table)


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


def _shapes(one: Scored) -> Iterator[TableRow]:
    yield from weight_rows("single (n, k) that no fit saw", one.rows, one.predicted, one.held)


def _transfer_groups(transfer: Sequence[Scored]) -> list[Group]:
    groups = []
    for one in transfer:
        roofline = mean_error([(one.baseline, one.rows.latency_us)])
        groups.append(
            compare(
                f"as unknown: {one.rows.name}",
                one.pairs,
                within=TRANSFER_BOUND,
                note=f"constants of other boards; roofline-3 {roofline:.1%}",
            )
        )
    return groups
