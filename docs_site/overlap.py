"""What each unit of a machine does when: the steps of one small product, as they were run."""

from __future__ import annotations

import codesign
from codesign.evaluate import run
from codesign.report.svg import Figure, bar, figure, label, line

_WORKLOAD = "gemm:512,256,256"
_MACHINE = "dense_systolic"
_LANE_PX = 40


def double_buffers() -> Figure:
    """The steps of a product on the units of a systolic machine."""
    _, timeline, _ = run(codesign.load_workload(_WORKLOAD), codesign.load_arch(_MACHINE))
    program = timeline.program
    used = [
        i for i, unit in enumerate(program.units)
        if unit.servers and int(program.busy_cycles[program.unit == i].sum())
    ]  # fmt: skip

    def draw(width: int) -> tuple[float, list[str]]:
        left, top = 120.0, 10.0
        scale = (width - left - 20) / timeline.cycles
        parts = []
        for lane, i in enumerate(used):
            foot = top + (lane + 1) * _LANE_PX - 8
            parts.append(label(0, foot - 8, program.units[i].name.replace("_", " ")))
            parts.append(line(left, foot, width - 20, foot))
            for place, step in enumerate((program.unit == i).nonzero()[0].tolist()):
                start, busy = int(timeline.start[step]), int(program.busy_cycles[step])
                if busy:
                    parts.append(
                        bar(left + start * scale, foot - 24, max(busy * scale, 0.6), 24,
                            f"f{(0, 4)[place % 2]}")
                    )  # fmt: skip
        foot = top + len(used) * _LANE_PX + 14
        parts.append(label(left, foot, "cycle 0", "mu"))
        parts.append(label(width - 20, foot, f"{timeline.cycles:,}", "mu en"))
        return foot + 8, parts

    return figure(
        "double_buffers",
        f"The steps of {_WORKLOAD} on {_MACHINE}",
        "A bar is a step of a unit, two shades so that neighbours can be told apart: loads run "
        "ahead of the array, and results leave behind it",
        draw,
    )
