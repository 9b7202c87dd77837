"""Are several operators joined as their dependencies and their engines demand?"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.schedule.program import Order, Program, Steps, Unit
from codesign.sim import link, simulate

UNITS = (Unit("dram", order=Order.ARRIVAL), Unit("array"))
STORE_LATENCY_CYCLES = 10


def operator(load: int, prefetch: int, compute: int, store: int) -> Program:
    """Reads what others make, prefetches weights, computes, and stores."""
    steps = Steps(UNITS, ("read", "mac"))
    one = np.ones(1, dtype=np.int64)
    weights = steps.add("dram", prefetch * one, at=0, action="read", count=prefetch)
    inputs = steps.add("dram", load * one, at=0, action="read", count=load)
    work = steps.add("array", compute * one, at=1, action="mac", count=compute)
    out = steps.add(
        "dram", store * one, at=2, action="read", count=store, latency_cycles=STORE_LATENCY_CYCLES
    )
    steps.depend(weights, steps.engine_ready)
    steps.depend(inputs, steps.inputs_ready)
    steps.depend(work, weights)
    steps.depend(work, inputs)
    steps.depend(out, work)
    steps.tally("buffer", 3)
    return steps.build(release_after=work, done_after=out)


def test_one_operator_alone() -> None:
    linked = link([operator(5, 7, 20, 4)], [[]], [("array",)], [1])
    assert linked.first.tolist() == [0, 8]
    assert simulate(linked.program).cycles == 7 + 5 + 20 + 4 + STORE_LATENCY_CYCLES


def test_a_consumer_reads_after_its_producer_is_done_and_prefetches_before() -> None:
    """The second one's weights load while the first one's store is under way."""
    linked = link(
        [operator(5, 7, 20, 4), operator(6, 8, 30, 3)], [[], [0]], [("array",)] * 2, [1, 1]
    )
    timeline = simulate(linked.program)
    producer_done = timeline.end[linked.first[1] - 1]
    assert producer_done == 46
    second = slice(int(linked.first[1]), int(linked.first[2]))
    weights, inputs = np.flatnonzero(linked.program.action[second] == 1)[:2] + linked.first[1]
    assert timeline.start[weights] == 36
    assert timeline.start[inputs] == producer_done
    assert timeline.cycles == 46 + 6 + 30 + 3 + STORE_LATENCY_CYCLES


def test_operators_without_a_dependency_share_the_units_only() -> None:
    alone = simulate(link([operator(5, 7, 20, 4)], [[]], ["a"], [1]).program).cycles
    two = link([operator(5, 7, 20, 4)] * 2, [[], []], [("a",), ("b",)], [1, 1])
    assert alone < simulate(two.program).cycles < 2 * alone


def test_another_engine_does_not_wait_for_buffers() -> None:
    programs = [operator(1, 1, 50, 1), operator(1, 9, 5, 1)]
    shared = simulate(link(programs, [[], []], [("array",), ("array",)], [1, 1]).program)
    apart = simulate(link(programs, [[], []], [("array",), ("vector",)], [1, 1]).program)
    first = 8 + np.flatnonzero(shared.program.action[8:] == 1)[0]
    assert shared.start[first] == 53
    assert apart.start[first] == 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 30)] * 4), min_size=1, max_size=5), st.data())
def test_a_repeated_operator_is_the_operator_written_out(
    sizes: list[tuple[int, int, int, int]], data: st.DataObject
) -> None:
    programs = [operator(*size) for size in sizes]
    times = [data.draw(st.integers(1, 4)) for _ in programs]
    deps = [sorted({data.draw(st.integers(0, i - 1))}) if i else [] for i in range(len(programs))]
    engines = [(data.draw(st.sampled_from(["array", "vector"])),) for _ in programs]
    short = link(programs, deps, engines, times)
    long_programs, long_deps, long_engines, last = [], [], [], []
    for program, waits, engine, count in zip(programs, deps, engines, times, strict=True):
        for run in range(count):
            at = len(long_programs)
            long_programs.append(program)
            long_deps.append([last[dep] for dep in waits] if run == 0 else [at - 1])
            long_engines.append(engine)
        last.append(len(long_programs) - 1)
    long = link(long_programs, long_deps, long_engines, [1] * len(long_programs))
    short.program.check()
    assert np.array_equal(short.program.dep_ptr, long.program.dep_ptr)
    assert simulate(short.program).end.tolist() == simulate(long.program).end.tolist()
    assert short.program.totals() == long.program.totals()
    assert short.first[-1] == long.first[-1] == len(short.program)


def test_sums_of_a_timeline() -> None:
    linked = link([operator(5, 7, 20, 4)] * 2, [[], [0]], [("a",), ("a",)], [1, 1])
    timeline = simulate(linked.program)
    spans = timeline.spans(linked.first)
    assert spans.busy_cycles == {"marker": 0, "dram": 32, "array": 40}
    waited = (timeline.start - timeline.ready)[timeline.program.unit == 1].sum()
    assert spans.stall_cycles["dram"] == waited > 0
    assert spans.cycles == timeline.cycles == timeline.end.max()
    works = timeline.program.unit != 0
    assert spans.start.tolist() == [
        timeline.start[a:b][works[a:b]].min() for a, b in pairwise(linked.first)
    ]
    assert spans.end.tolist() == timeline.end[linked.first[1:] - 1].tolist()


def test_programs_of_different_machines_are_not_linked() -> None:
    one = operator(1, 1, 1, 1)
    other = replace(one, actions=(*one.actions, "more"))
    with pytest.raises(CodesignError, match="different machines"):
        link([one, other], [[], []], [("a",), ("a",)], [1, 1])


def test_a_run_too_long_to_count_is_refused() -> None:
    short = operator(5, 7, 1 << 60, 4)
    assert simulate(short).cycles > 1 << 60
    linked = link([short] * 8, [[], *([i] for i in range(7))], [("array",)] * 8, [1] * 8)
    with pytest.raises(CodesignError, match="more than can be counted in 64 bits"):
        simulate(linked.program)
