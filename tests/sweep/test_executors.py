"""Does every executor answer each point once, with what one thread makes of it?"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from codesign.config import Document
from codesign.sweep import executors
from codesign.sweep.design import Base, Designs, Point
from codesign.sweep.engine import Engine
from codesign.sweep.executors import Executor, Serial, Threads, make_executor
from codesign.sweep.samplers import make_sampler
from tests.sweep.conftest import Raising


def _points(base: Base, many: int) -> list[Point]:
    designs = Designs(base)
    return [designs.point(i, values) for i, values in enumerate(make_sampler(base.study).ask(many))]


def _all(executor: Executor, points: list[Point]) -> dict[str, tuple[dict[str, float], str | None]]:
    executor.submit(points)
    found = []
    while executor.pending:
        found += executor.wait(0.1)
    assert len(found) == len(points)
    return {outcome.key: (dict(outcome.metrics), outcome.error) for outcome in found}


@pytest.mark.parametrize("engine", [Engine, Raising])
def test_threads_answer_as_one_thread_does(base: Base, engine: type[Engine]) -> None:
    """Figures bit for bit, and errors."""
    points = _points(base, 16)
    threads, serial = Threads(base, 2, engine), Serial(base, engine)
    assert _all(threads, points) == _all(serial, points)
    threads.close()


@pytest.mark.parametrize("name", ["serial", "thread", "process"])
def test_an_executor_has_room_for_what_it_has_not_taken(base: Base, name: str) -> None:
    """Room shrinks with every point taken and comes back; after closing nothing is in work."""
    execution = base.study.execution.model_copy(update={"executor": name, "workers": 1})
    own = replace(base, study=base.study.model_copy(update={"execution": execution}))
    executor = make_executor(own)
    before = executor.room
    points = _points(base, 3)
    executor.submit(points)
    assert (executor.pending, executor.room) == (3, before - 3)
    found = []
    ends = time.monotonic() + 60
    while executor.pending and time.monotonic() < ends:
        found += executor.wait(0.1)
    assert sorted(outcome.key for outcome in found) == sorted(point.key for point in points)
    assert executor.room >= before
    executor.submit(points)
    executor.close()
    if name != "thread":
        assert executor.room >= before


def test_a_worker_of_a_cluster_keeps_its_engine_for_one_sweep_alone(base: Base) -> None:
    """Machine and workload files of the same name with other content are another sweep's."""
    point = _points(base, 1)
    executors._evaluate_task(base, Engine, point)
    (first,) = executors._engines.values()
    executors._evaluate_task(replace(base), Engine, point)
    assert [*executors._engines.values()] == [first]
    (document,) = base.machines.values()
    changed = Document({**document.data, "clock_mhz": 2 * document.data["clock_mhz"]})
    edited = replace(base, machines=dict.fromkeys(base.machines, changed))
    slow, quick = (executors._evaluate_task(one, Engine, point)[0] for one in (base, edited))
    assert quick.metrics["latency_s"] < slow.metrics["latency_s"]
    (second,) = executors._engines.values()
    executors._evaluate_task(replace(edited, workloads={"w.yaml": "name: w"}), Engine, point)
    assert second not in executors._engines.values()
