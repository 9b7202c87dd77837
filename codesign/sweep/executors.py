"""Where points are evaluated: in this thread, in threads, in processes, on a Ray cluster."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from typing import Any, Protocol

from codesign.config import CodesignError, fingerprint
from codesign.sweep.design import Base, Point
from codesign.sweep.engine import Engine, Outcome
from codesign.sweep.study import Execution


class Executor(Protocol):
    """Takes points and gives their outcomes back, each once, in any order."""

    @property
    def room(self) -> int:
        """How many more points keep it busy."""

    @property
    def pending(self) -> int:
        """Points taken and not yet given back."""

    def submit(self, points: Sequence[Point]) -> None:
        """Take points."""

    def wait(self, timeout_s: float) -> list[Outcome]:
        """Outcomes that have come in, after at most about `timeout_s`."""

    def close(self) -> None:
        """Stop, in the middle of points if that is possible."""


class Serial:
    """One point after the other, in this thread. A point that hangs cannot be ended."""

    def __init__(self, base: Base, engine: type[Engine] = Engine) -> None:
        self._engine = engine(base)
        self._queue: deque[Point] = deque()

    @property
    def room(self) -> int:
        return max(0, 64 - len(self._queue))

    @property
    def pending(self) -> int:
        return len(self._queue)

    def submit(self, points: Sequence[Point]) -> None:
        self._queue.extend(points)

    def wait(self, timeout_s: float) -> list[Outcome]:
        done = []
        began = time.monotonic()
        while self._queue and time.monotonic() - began < timeout_s:
            done.append(self._engine.evaluate(self._queue[0]))
            self._queue.popleft()
        return done

    def close(self) -> None:
        self._queue.clear()


class Threads:
    """Threads of this process, which share compiled code and masks; only kernels run at once.

    A point that hangs cannot be ended.
    """

    def __init__(self, base: Base, workers: int, engine: type[Engine] = Engine) -> None:
        self._base, self._engine, self._workers = base, engine, workers
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(workers)
        self._futures: set[Future[Outcome]] = set()

    @property
    def room(self) -> int:
        return max(0, 16 * self._workers - len(self._futures))

    @property
    def pending(self) -> int:
        return len(self._futures)

    def submit(self, points: Sequence[Point]) -> None:
        self._futures |= {self._pool.submit(self._evaluate, point) for point in points}

    def _evaluate(self, point: Point) -> Outcome:
        engine: Engine | None = getattr(self._own, "engine", None)
        if engine is None:
            engine = self._own.engine = self._engine(self._base)
        return engine.evaluate(point)

    def wait(self, timeout_s: float) -> list[Outcome]:
        done, self._futures = wait_for(self._futures, timeout_s, return_when=FIRST_COMPLETED)
        return [future.result() for future in done]

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


class RayCluster:
    """Tasks of a few points each on a Ray cluster; nothing is read from a shared file system.

    The machine and workload files travel with the tasks. A task whose worker dies is tried again by
    Ray; when it dies again and again its points are tried one by one, so that one bad point harms
    no other.
    """

    def __init__(
        self, base: Base, execution: Execution, workers: int, engine: type[Engine] = Engine
    ) -> None:
        try:
            import ray
        except ImportError:
            raise CodesignError("--executor ray needs Ray: pip install 'codesign[ray]'") from None
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            self._connect(execution.address, workers)
        self._base = ray.put(base)
        self._engine = engine
        self._retries = execution.retries
        self._timeout_s = execution.timeout_s
        self._task = ray.remote(_evaluate_task)
        cpus = int(self._ray.cluster_resources().get("CPU", workers))
        self._workers = max(1, cpus)
        self._chunk = 1
        self._running: dict[Any, tuple[list[Point], float]] = {}
        self._ready: list[Outcome] = []

    def _connect(self, address: str | None, workers: int) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        given: dict[str, Any] = {"address": address} if address else {"num_cpus": workers}
        if not address:
            given |= {"include_dashboard": False, "object_store_memory": 100 << 20}
        try:
            self._ray.init(log_to_driver=False, logging_level="ERROR", **given)
        except Exception as error:
            where = f"at {address}" if address else "on this machine"
            raise CodesignError(f"no Ray cluster could be reached {where}: {error}") from None

    @property
    def room(self) -> int:
        return max(0, self._chunk * 3 * self._workers - self.pending)

    @property
    def pending(self) -> int:
        return sum(len(points) for points, _ in self._running.values()) + len(self._ready)

    def submit(self, points: Sequence[Point]) -> None:
        for start in range(0, len(points), self._chunk):
            self._launch(list(points[start : start + self._chunk]))

    def _launch(self, points: list[Point]) -> None:
        task = self._task.options(max_retries=self._retries, num_cpus=1)
        reference = task.remote(self._base, self._engine, points)
        self._running[reference] = (points, time.monotonic())

    def wait(self, timeout_s: float) -> list[Outcome]:
        done, self._ready = self._ready, []
        if not self._running:
            return done
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=timeout_s)
        more, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        for reference in dict.fromkeys([*finished, *more]):
            points, began = self._running.pop(reference)
            done += self._result(reference, points, began)
        self._end_late_ones()
        return done

    def _result(self, reference: Any, points: list[Point], began: float) -> list[Outcome]:
        try:
            outcomes: list[Outcome] = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            if len(points) > 1:
                for point in points:
                    self._launch([point])
                return []
            late = time.monotonic() - began > self._timeout_s
            text = (
                f"took longer than execution.timeout_s ({self._timeout_s:g} s)"
                if late
                else f"its worker died ({type(error).__name__})"
            )
            return [Outcome(points[0].key, {}, text, 0.0)]
        each = max(1e-4, sum(o.duration_s for o in outcomes) / len(outcomes))
        self._chunk = min(256, max(1, int(0.5 / each)), 2 * self._chunk)
        return outcomes

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        for reference, (points, began) in self._running.items():
            if now - began > self._timeout_s * len(points) + 60:
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        if self._own:
            self._ray.shutdown()


_engines: dict[object, Engine] = {}


def _evaluate_task(base: Base, engine: type[Engine], points: list[Point]) -> list[Outcome]:
    """What runs on the cluster: an engine is kept in each worker between tasks of one sweep."""
    content = [base.study.fingerprint, base.marks, base.workload_marks]
    key = (fingerprint(content), engine)
    if key not in _engines:
        _engines.clear()
        _engines[key] = engine(base)
    return [_engines[key].evaluate(point) for point in points]


def make_executor(base: Base, engine: type[Engine] = Engine) -> Executor:
    """The executor that a sweep asks for. Raises CodesignError where it is not installed."""
    execution = base.study.execution
    workers = execution.workers or usable_cores()
    match execution.executor:
        case "serial":
            return Serial(base, engine)
        case "thread":
            return Threads(base, workers, engine)
        case "ray":
            return RayCluster(base, execution, workers, engine)
        case _:
            from codesign.sweep.pool import ProcessPool

            return ProcessPool(
                base,
                workers,
                timeout_s=execution.timeout_s,
                memory_bytes=execution.memory_bytes,
                retries=execution.retries,
                engine=engine,
            )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
