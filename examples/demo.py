"""The main job, end to end: two PyTorch models, dense and N:M sparse, on two accelerators.

Run by `make demo`: extracts ResNet-50 and a GPT-2 block, simulates inference and training cycle by
cycle on a dense systolic array and on SAT, and writes a report.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import codesign
from codesign.evaluate import evaluate
from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.answer import answer
from codesign.report.cases import Case
from codesign.report.details import details
from codesign.report.html import write_report
from codesign.report.markdown import write_markdown
from codesign.report.page import Options
from codesign.report.study import Scenario, cycles_by, study
from codesign.report.tables import results_csv, results_json
from codesign.trace.op import Trace

PATTERNS = ("dense", "2:4", "2:8")
SAME_CLOCK_AND_LINK = {"clock_mhz": 200, "dram.bytes_per_cycle": 384}
"""SAT's 200 MHz and 76.8 GB/s, so that the dense array differs in its processing elements alone."""
PUBLISHED_MEAN_SPEEDUP = 1.75
"""SAT, 2:8 BDWP over dense training (arXiv 2309.13015, abstract)."""
TITLE = "Does N:M sparsity pay? ResNet-50 and a GPT-2 block on SAT and on a dense array"


INTRODUCTION = (
    "Both models were extracted from PyTorch modules. They run dense and with 2 of 4 and 2 of 8 "
    "weights kept; in training the weights are sparse forward and backward (BDWP), the weight "
    "gradient is dense. A GPT-2 block reads 1024 tokens. Both machines have 32x32 processing "
    "elements, 200 MHz and 76.8 GB/s of DRAM; the dense array multiplies zeros, SAT skips them."
)


@dataclass(frozen=True)
class Job:
    """A model in a phase."""

    name: str
    source: str
    phase: str
    batch: int
    seq: int | None = None


JOBS = (
    Job("ResNet-50", "torch:examples.models:resnet50", "inference", 1),
    Job("ResNet-50", "torch:examples.models:resnet50", "training", 32),
    Job("GPT-2 block", "torch:examples.models:gpt2_block", "inference", 1, 1024),
    Job("GPT-2 block", "torch:examples.models:gpt2_block", "training", 8, 1024),
)


def extract(job: Job) -> Trace:
    """The operators that PyTorch runs for a job, taken from the module on the meta device."""
    trace = codesign.extract(job.source, phase=job.phase, batch=job.batch, seq=job.seq)
    name = f"{job.name}, batch {job.batch}"
    return Trace(name, trace.ops, trace.parameters, trace.masks, trace.meta)


def run(jobs: tuple[Job, ...], console: Console) -> list[Case]:
    """Every job with every pattern on both machines."""
    machines = (
        codesign.load_arch("dense_systolic", SAME_CLOCK_AND_LINK),
        codesign.load_arch("sat"),
    )
    cases: list[Case] = []
    columns = (TextColumn("{task.description}"), BarColumn(28), TimeElapsedColumn())
    for job in jobs:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(f"extracting {job.name}", total=None)
            trace = extract(job)
            runs = [(pattern, machine) for machine in machines for pattern in PATTERNS]
            bar.update(task, total=len(runs) * len(trace))
            for pattern, machine in runs:
                sparse = trace if pattern == "dense" else codesign.sparsify(trace, pattern)
                bar.update(task, description=f"{job.name} {job.phase}, {pattern}")
                result = evaluate(
                    sparse,
                    machine,
                    fidelity="row",
                    progress=lambda *_: bar.advance(task),  # noqa: B023
                )
                cases.append(Case(result, sparse, machine))
        console.print(summary(study([case.result for case in cases]).scenarios[-1]))
    return cases


def summary(scenario: Scenario) -> Table:
    """The runs of one comparison, a row for each."""
    table = Table(title=scenario.title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    table.add_column("run", no_wrap=True)
    for name in ("latency", "speed", "energy", "use", "bound by"):
        table.add_column(name, justify="left" if name == "bound by" else "right", no_wrap=True)
    for run_ in scenario.runs:
        result = run_.result
        bound, cycles = next(iter(cycles_by(result.ops, lambda op: op.bound_by).items()))
        table.add_row(
            run_.label,
            q.with_unit(result.latency_s, "s"),
            q.ratio(scenario.speedup_over_baseline(run_)),
            q.with_unit(result.energy_j, "J"),
            q.share(result.utilisation),
            f"{bound} {q.share(q.divide(cycles, result.cycles))}",
            style="bold" if run_ is scenario.fastest else "",
        )
    return table


def remarks(results: list[Result]) -> tuple[str, ...]:
    """What sparsity brings on SAT itself, next to what its authors publish."""
    on_sat = {(r.workload, r.sparsity): r for r in results if r.arch == "sat"}
    gains, work = [], []
    for result in on_sat.values():
        if result.phase == "training" and result.sparsity == "2:8":
            dense = on_sat[result.workload, "dense"]
            gain = q.divide(dense.latency_s, result.latency_s)
            gains.append(f"{q.ratio(gain)} for {result.workload}")
            work.append(q.ratio(q.divide(result.executed_macs, dense.executed_macs)))
    return (
        "On SAT alone, training with 2:8 BDWP against dense training gives "
        f"{' and '.join(gains)}, with {' and '.join(work)} the multiply-accumulates. The paper "
        f"reports a mean of {PUBLISHED_MEAN_SPEEDUP}× over its models (arXiv 2309.13015, abstract) "
        "and not the sizes of its batches and buffers.",
    )


def write(cases: list[Case], out: Path) -> None:
    """Leave the report as HTML, as Markdown with figures, and its numbers as JSON and CSV."""
    results = [case.result for case in cases]
    texts: Options = {
        "title": TITLE,
        "details": details(cases),
        "introduction": INTRODUCTION,
        "remarks": remarks(results),
        "commands": ("make demo",),
    }
    write_report(results, out / "index.html", **texts)
    write_markdown(results, out / "report.md", **texts)
    (out / "results.json").write_text(results_json(results, with_ops=False), encoding="utf-8")
    (out / "results.csv").write_text(results_csv(results), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("reports/demo"))
    out: Path = parser.parse_args().out
    console = Console()
    started = time.perf_counter()
    cases = run(JOBS, console)
    write(cases, out)
    results = [case.result for case in cases]
    for sentence in (*answer(study(results)), *remarks(results)):
        console.print(sentence, highlight=False)
    console.print(
        f"\n{len(results)} runs in {time.perf_counter() - started:.0f} s. "
        f"Open [bold]{out / 'index.html'}[/bold]",
        highlight=False,
    )


if __name__ == "__main__":
    main()
