"""Does a Ray cluster give this thread's results, also when a worker is killed in the middle?"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from codesign.sweep.design import Base, Designs
from codesign.sweep.engine import Outcome
from codesign.sweep.executors import RayCluster
from codesign.sweep.run import Sweep, prepare
from codesign.sweep.samplers import make_sampler
from codesign.sweep.store import Store
from tests.sweep.conftest import Telling

ray = pytest.importorskip("ray", reason="the extra [ray] is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray of two workers, which know the tests' modules."""
    root = str(Path(__file__).parents[2])
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False,
        logging_level="ERROR", runtime_env={"env_vars": {"PYTHONPATH": root}},
    )  # fmt: skip
    yield
    ray.shutdown()


def _on_ray(base: Base) -> Base:
    execution = base.study.execution.model_copy(update={"executor": "ray", "workers": 2})
    return replace(base, study=base.study.model_copy(update={"execution": execution}))


@pytest.mark.usefixtures("cluster")
def test_results_are_those_of_one_thread(base: Base, tmp_path: Path) -> None:
    """Bit for bit, point by point."""
    found = []
    for name, own in (("serial", base), ("ray", _on_ray(base))):
        with Store(tmp_path / f"{name}.db") as store:
            prepare(store, own, resume=False)
            Sweep(own, store).run()
            found.append({row.key: dict(row.metrics) for row in store.rows()})
    assert found[0] == found[1]
    assert len(found[0]) == 48


@pytest.mark.usefixtures("cluster")
def test_a_worker_killed_in_the_middle_is_retried(base: Base, tmp_path: Path) -> None:
    """kill -9 of a worker process: nothing is lost, nothing comes twice."""
    own = _on_ray(base)
    own = replace(own, study=own.study.model_copy(update={"description": str(tmp_path)}))
    execution = own.study.execution.model_copy(update={"retries": 3})
    designs = Designs(own)
    sampler = make_sampler(own.study)
    points = [designs.point(i, values) for i, values in enumerate(sampler.ask(48))]
    executor = RayCluster(own, execution, 2, Telling)
    executor.submit(points)
    seen: list[Outcome] = []
    killed = False
    deadline = time.monotonic() + 120
    while executor.pending and time.monotonic() < deadline:
        seen += executor.wait(0.1)
        if not killed and len(seen) >= 3:
            pids = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
            os.kill(pids[0], signal.SIGKILL)
            killed = True
    executor.close()
    assert killed
    assert all(outcome.error is None for outcome in seen)
    assert sorted(outcome.key for outcome in seen) == sorted(point.key for point in points)
