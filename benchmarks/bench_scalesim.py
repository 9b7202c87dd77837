"""How much processor time does SCALE-Sim 3.0.0 take for layers that are simulated here too?

    python -m benchmarks.bench_scalesim [--full]

The peer runs in a virtual environment of its own, made once in the user's cache folder; --full runs
every layer of its ResNet-18 table instead of some.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from benchmarks import Row as Figure
from benchmarks.timing import best
from codesign.arch import load_arch
from codesign.evaluate import evaluate
from codesign.measure.scalesim_rows import Row, Window, operator
from codesign.measure.validate_scalesim import peer_machine, simulate
from codesign.trace.op import Trace

PACKAGES = ("scalesim==3.0.0", "numpy==2.2.6")
EDGE = 128
GOAL = 1000.0
RUNS = 5

RESNET18: dict[str, Window] = {
    "Conv1": Window(224, 224, 7, 7, 3, 64, 2),
    "Conv2_1a": Window(56, 56, 3, 3, 64, 64, 1),
    "Conv3_1a": Window(56, 56, 3, 3, 64, 128, 2),
    "Conv3_1b": Window(28, 28, 3, 3, 128, 128, 1),
    "Conv3_s": Window(56, 56, 1, 1, 64, 128, 2),
    "Conv4_1a": Window(28, 28, 3, 3, 128, 256, 2),
    "Conv4_1b": Window(14, 14, 3, 3, 256, 256, 1),
    "Conv4_s": Window(28, 28, 1, 1, 128, 256, 2),
    "Conv5_1a": Window(14, 14, 3, 3, 256, 512, 2),
    "Conv5_1b": Window(7, 7, 3, 3, 512, 512, 1),
    "Conv5_s": Window(14, 14, 1, 1, 256, 512, 2),
    "FC": Window(1, 1, 1, 1, 512, 1000, 1),
}
"""Distinct layers of ResNet-18 as SCALE-Sim's topology has them, without padding."""
SOME = ("Conv2_1a", "Conv3_1b", "Conv3_s", "Conv4_1b", "Conv5_s", "FC")

CONFIG = f"""[general]
run_name = run
[architecture_presets]
ArrayHeight: {EDGE}
ArrayWidth: {EDGE}
IfmapSramSzkB: 1024
FilterSramSzkB: 1024
OfmapSramSzkB: 1024
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Dataflow: ws
Bandwidth: 10
ReadRequestBuffer: 32
WriteRequestBuffer: 32
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 1
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 1
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""
"""SCALE-Sim's configuration: weight-stationary, memory that never stalls."""

PEER = """
import json
from time import process_time
from scalesim.scale_sim import scalesim
sim = scalesim(save_disk_space=True, verbose=False, config="peer.cfg", topology="layers.csv",
               layout="layout.csv")
start = process_time()
sim.run_scale(top_path="out")
seconds = process_time() - start
layers = sim.runner.single_layer_sim_object_list
cycles = [int(layer.get_compute_report_items()[1]) + 1 for layer in layers]
print(json.dumps({"seconds": seconds, "cycles": cycles}))
"""
"""Runs in the peer's environment; importing it is not counted."""


def main(*, full: bool = False) -> list[Figure]:
    """Processor time of SCALE-Sim over ours, for the same layers in one run."""
    names = tuple(RESNET18) if full else SOME
    rows = [row_of(name, RESNET18[name]) for name in names]
    try:
        python = peer_python()
        peer = run_peer(python, names)
    except (OSError, subprocess.SubprocessError) as error:
        shown = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        print(f"SCALE-Sim comparison skipped: {' '.join(shown)}", file=sys.stderr)
        return []
    machine = peer_machine(EDGE, EDGE, "ws", 0)
    cycles = [simulate(row, machine).cycles for row in rows]
    same = sum(a == b for a, b in zip(cycles, peer["cycles"], strict=True))
    own = load_arch("dense_systolic", {"array.rows": EDGE, "array.cols": EDGE})
    trace = Trace("layers", tuple(operator(row) for row in rows))
    in_its_way = best(lambda: [simulate(row, machine) for row in rows], RUNS).processor
    in_our_way = best(lambda: evaluate(trace, own), RUNS).processor
    layers = f"{len(rows)} layers of ResNet-18, {EDGE}x{EDGE} ws"
    return [
        Figure(
            f"SCALE-Sim 3.0.0 over ours, its convention, {layers}",
            peer["seconds"] / in_its_way, "x less processor time", GOAL, "higher",
            f"{peer['seconds']:.1f} s against {1000 * in_its_way:.2f} ms; "
            f"cycles equal on {same} of {len(rows)}",
        ),
        Figure(
            f"SCALE-Sim 3.0.0 over ours, default row fidelity with energy, {layers}",
            peer["seconds"] / in_our_way, "x less processor time", GOAL, "higher",
            f"{peer['seconds']:.1f} s against {1000 * in_our_way:.2f} ms",
        ),
    ]  # fmt: skip


def row_of(name: str, window: Window) -> Row:
    """A layer of the peer's table as a product on its array."""
    return Row(
        name=name, m=window.out_h * window.out_w, n=window.filters,
        k=window.filter_h * window.filter_w * window.channels,
        array_rows=EDGE, array_cols=EDGE, dataflow="ws", total_cycles=0, window=window,
    )  # fmt: skip


def peer_python() -> Path:
    """The interpreter of the peer's environment, which is made if it is not there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "codesign" / "-".join(PACKAGES).replace("==", "-")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not (folder / "complete").exists():
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
        run([str(python), "-m", "pip", "install", "--quiet", *PACKAGES])
        (folder / "complete").touch()
    return python


class Answer(TypedDict):
    """What the peer prints."""

    seconds: float
    cycles: list[int]


def run_peer(python: Path, names: Sequence[str]) -> Answer:
    """Cycles of each layer, and processor seconds of them all."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "peer.cfg").write_text(CONFIG)
        sizes = [(name, *window_cells(RESNET18[name])) for name in names]
        (place / "layers.csv").write_text("header,\n" + "".join(map(line, sizes)))
        ones = [(name, *(1 for _ in range(20))) for name in names]
        (place / "layout.csv").write_text("header,\n" + "".join(map(line, ones)))
        out = run([str(python), "-c", PEER], place)
    answer: Answer = json.loads(out.splitlines()[-1])
    return answer


def window_cells(window: Window) -> tuple[int, ...]:
    w = window
    return (w.ifmap_h, w.ifmap_w, w.filter_h, w.filter_w, w.channels, w.filters, w.stride)


def line(cells: Sequence[object]) -> str:
    """A line of the peer's tables, whose last comma is part of the form."""
    return "".join(f"{cell}," for cell in cells) + "\n"


def run(command: Sequence[str], folder: Path | None = None) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder).stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="every layer of the table")
    for figure in main(full=parser.parse_args().full):
        print(f"{figure.name}: {figure.value:,.0f} {figure.unit} ({figure.baseline})")
