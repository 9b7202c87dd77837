"""From stores of sweeps and folders of results to one report, in every form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from codesign.accuracy import AccuracyPoint, accuracy_of
from codesign.config import CodesignError
from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.cases import Case, again, differing
from codesign.report.details import Detail, details
from codesign.report.html import write_report
from codesign.report.markdown import write_markdown
from codesign.report.page import Options
from codesign.report.points import points
from codesign.report.stored import details_json, read_details, read_results
from codesign.report.sweep_part import SweepPart, detailed, picked, sweep_part
from codesign.report.tables import cell, ops_csv, results_csv, results_json
from codesign.report.validation import about
from codesign.sweep.run import stored_study
from codesign.sweep.store import Row, Store, write_csv

_SQLITE = b"SQLite format 3\x00"


@dataclass
class Material:
    """What a report is made of."""

    titles: list[str] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    accuracies: list[AccuracyPoint | None] = field(default_factory=list)
    details: dict[str, Detail] = field(default_factory=dict)
    sweeps: list[SweepPart] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)
    """The points of each sweep, for CSV."""
    remarks: list[str] = field(default_factory=list)

    def options(self, title: str | None, baseline: int, commands: Sequence[str]) -> Options:
        """What `write_report` is told."""
        options: Options = {
            "title": title or " and ".join(dict.fromkeys(self.titles)),
            "baseline": baseline,
            "commands": tuple(commands),
            "remarks": tuple(self.remarks),
            "details": self.details,
            "accuracies": self.accuracies,
            "sweeps": tuple(self.sweeps),
        }
        if self.sweeps:
            options["names"] = self.names
        return options


def gather(runs: Sequence[Path], *, point: int | None = None, closely: bool = True) -> Material:
    """Read some stores of sweeps and folders (or files) of results.

    `point` is the number of the point of a study that others are compared with. Without `closely`
    no point is simulated again with its machine's doubtful numbers halved and doubled. Raises
    CodesignError for what is neither.
    """
    found = Material()
    for run in runs:
        if is_store(run):
            _take_store(found, run, point, closely)
        else:
            _take_results(found, run)
    if not found.results:
        raise CodesignError("a report needs at least one run")
    return found


def is_store(path: Path) -> bool:
    """Whether a file is a database; folders hold results."""
    if not path.exists():
        raise CodesignError(f"{path}: there is no such run")
    if path.is_dir():
        return False
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _take_results(found: Material, run: Path) -> None:
    results = read_results(run)
    found.results += results
    found.names += [
        f"{q.one_line(result.arch, 48)} · {q.one_line(result.sparsity, 48)}" for result in results
    ]
    found.accuracies += [None] * len(results)
    found.details |= read_details(run)
    first = results[0]
    archs = " and ".join(dict.fromkeys(result.arch for result in results))
    found.titles.append(f"{first.workload} on {archs}")


def _take_store(found: Material, run: Path, point: int | None, closely: bool) -> None:
    with Store(run, create=False) as store:
        study = stored_study(store)
        rows = store.rows()
        listed = points(study, str(run), rows, point)
        chosen = [
            (f"point {row.number}, {what}", row)
            for group in detailed(listed)
            for what, row in picked(listed, group)
        ]
        names, picks = [name for name, _ in chosen], [row for _, row in chosen]
        archs = [q.one_line(str(row.config["arch"]["name"]), 40) for row in picks]
        if len(set(archs)) > 1:
            names = [f"{name} · {arch}" for name, arch in zip(names, archs, strict=True)]
        cases = again(store, study, picks)
    if other := differing(picks, cases):
        found.remarks.append(
            f"{study.name} was stored by another version: points {', '.join(map(str, other))} "
            "have other figures when they are simulated now; the points are shown as stored."
        )
    swept = {each for path, p in study.parameters.items() for each in (path, *p.also)}
    if closely:
        found.details |= details(
            cases,
            names=names,
            goals=_known(study.metrics),
            left_out={path.removeprefix("arch.") for path in swept},
        )
    found.results += [case.result for case in cases]
    found.accuracies += [_accuracy(row, case) for row, case in zip(picks, cases, strict=True)]
    found.names += names
    found.sweeps.append(sweep_part(listed, len(found.sweeps)))
    found.rows.append(rows)
    found.titles.append(study.description or study.name)


def _accuracy(row: Row, case: Case) -> AccuracyPoint | None:
    kind, sparsity = row.config.get("accuracy"), row.config["sparsity"]
    if kind is None:
        return None
    return accuracy_of(kind, case.trace.name, sparsity["method"], sparsity["pattern"], case.machine)


def _known(goals: Mapping[str, str]) -> dict[str, str]:
    """The goals that a simulation alone can judge."""
    kept = {name: goal for name, goal in goals.items() if not name.startswith("accuracy")}
    return kept or {"latency_s": "minimize"}


_ENDINGS = (".html", ".md", ".csv", ".json")


def write(found: Material, out: Path, options: Options, *, png: bool = False) -> list[Path]:
    """Write the report in the form that the name's ending asks for, or all forms into a folder.

    With `png` the figures of Markdown are PNG. Returns the files written, the one to open first.
    Raises CodesignError for another ending.
    """
    if not out.suffix:
        return [
            file
            for name in ("index.html", "report.md", "results.json", "results.csv")
            for file in write(found, out / name, options, png=png)
        ]
    if out.suffix not in _ENDINGS:
        raise CodesignError(
            f"a report is {', '.join(_ENDINGS)}, or a folder for all of them; not {out.suffix}"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    beside: list[Path] = []
    match out.suffix:
        case ".html":
            write_report(found.results, out, **options)
        case ".md":
            write_markdown(found.results, out, png=png, **options)
        case ".json":
            out.write_text(as_json(found), encoding="utf-8")
        case ".csv":
            beside = _write_csv(found, out)
    return [out, *beside]


def _write_csv(found: Material, out: Path) -> list[Path]:
    """A row for each run; operators and points are files beside it."""
    operators = out.with_name(f"{out.stem}-operators.csv")
    out.write_text(results_csv(found.results), encoding="utf-8")
    operators.write_text(ops_csv(found.results), encoding="utf-8")
    return [operators, *write_points(found, out.with_name(f"{out.stem}-points.csv"))]


def write_points(found: Material, out: Path) -> list[Path]:
    """The points of each study as CSV; those of further studies are numbered files beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    files = []
    for i, rows in enumerate(found.rows):
        files.append(out.with_name(f"{out.stem}{f'-{i + 1}' if i else ''}.csv"))
        write_csv([_printable(row) for row in rows], files[-1])
    return files


def _printable(row: Row) -> Row:
    """The row without text that a spreadsheet would take for a formula."""
    values = {key: cell(value) for key, value in row.values.items()}
    return replace(row, values=values, error=cell(row.error))


def as_json(found: Material) -> str:
    """Results without their operators, what was looked at closely, and what each study says."""
    return (
        json.dumps(
            {
                "results": json.loads(results_json(found.results, with_ops=False)),
                "names": found.names,
                "details": json.loads(details_json(found.details)),
                "validation": [
                    asdict(row) for row in about([result.machine for result in found.results])
                ],
                "studies": [
                    {
                        "name": part.points.study.name,
                        "facts": part.facts,
                        "sentences": part.sentences,
                        "fronts": [
                            {
                                "workload": group.title,
                                "baseline": group.baseline.number,
                                "knee": None if group.knee is None else group.knee.number,
                                "points": [
                                    {**row.values, **row.metrics, "number": row.number}
                                    for row in group.front
                                ],
                            }
                            for group in part.points.groups
                        ],
                    }
                    for part in found.sweeps
                ],
            },
            indent=1,
            allow_nan=False,
        )
        + "\n"
    )
