"""Worker processes that may die, hang or run out of memory without harm to the sweep."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from codesign.config import CodesignError
from codesign.sweep.design import Base, Point
from codesign.sweep.engine import Engine, Outcome

_GRACE_S = 120.0
"""How long a new worker may take to begin."""
_PER_MESSAGE_S = 0.1
_CHUNK_S = 0.2
_LARGEST_CHUNK = 128
_AHEAD = 2
"""Chunks that a worker holds, so that it never waits for the driver."""


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    begun: Any
    """Shared with the process: how many points it has begun."""
    held: deque[Point] = field(default_factory=deque)
    """Points that it was sent and has not answered, the one in work first."""
    since: float = 0.0
    """When it began the point in work."""
    ready: bool = False
    answered: int = 0

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Note that points were answered."""
        for _ in outcomes:
            self.held.popleft()
        self.answered += len(outcomes)

    def culprit(self) -> Point | None:
        """The point in work, taken out of those held; answers of earlier ones may be lost."""
        place = int(self.begun.value) - self.answered - 1
        if not 0 <= place < len(self.held):
            return None
        point = self.held[place]
        del self.held[place]
        return point


class ProcessPool:
    """Evaluates points in processes; answers come in any order.

    A point in work when its worker dies is tried `retries` times more; one that takes longer than
    `timeout_s` ends with its worker. Both become outcomes with an error, and other points that the
    worker held are handed out again.
    """

    def __init__(
        self,
        base: Base,
        workers: int,
        *,
        timeout_s: float,
        memory_bytes: int | None,
        retries: int,
        engine: type[Engine] = Engine,
    ) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._start = (base, memory_bytes, engine)
        self._timeout_s, self._retries = timeout_s, retries
        self._queue: deque[Point] = deque()
        self._deaths: dict[str, int] = {}
        self._chunk = 1
        self._failed_starts = 0
        self._limit = workers
        self._workers: list[_Worker] = []

    @property
    def room(self) -> int:
        """Points that can be taken without any waiting for long."""
        wanted = max(self._chunk, 4) * (_AHEAD + 2) * self._limit
        return max(0, wanted - self.pending)

    @property
    def pending(self) -> int:
        return len(self._queue) + sum(len(worker.held) for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """Process numbers of the workers that have begun."""
        return [worker.process.pid or 0 for worker in self._workers if worker.ready]

    def submit(self, points: Sequence[Point]) -> None:
        """Take points to be evaluated."""
        self._queue.extend(points)
        self._feed()

    def wait(self, timeout_s: float) -> list[Outcome]:
        """The outcomes that have come in, after at most `timeout_s`."""
        self._feed()
        pipes = {worker.pipe: worker for worker in self._workers}
        done: list[Outcome] = []
        for ready in wait(list(pipes), timeout_s):
            done += self._receive(pipes[ready])  # type: ignore[index]
        now = time.monotonic()
        for worker in list(self._workers):
            allowed = self._timeout_s if worker.ready else max(_GRACE_S, self._timeout_s)
            if (worker.held or not worker.ready) and now - worker.since > allowed:
                done += self._give_up(worker)
        self._feed()
        return done

    def close(self) -> None:
        """End all workers, in the middle of a point if need be."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def _feed(self) -> None:
        wanted = min(self._limit, len(self._workers) + len(self._queue))
        while len(self._workers) < wanted:
            self._workers.append(self._spawn())
        for _ in range(_AHEAD):
            for worker in sorted(self._workers, key=lambda w: len(w.held)):
                if not self._queue:
                    return
                if len(worker.held) > self._chunk * (_AHEAD - 1) or worker.pipe.closed:
                    continue
                share = -(-len(self._queue) // len(self._workers))
                many = min(self._chunk, share, len(self._queue))
                self._send(worker, [self._queue.popleft() for _ in range(many)])

    def _send(self, worker: _Worker, points: list[Point]) -> None:
        if not worker.held and worker.ready:
            worker.since = time.monotonic()
        worker.held.extend(points)
        with suppress(OSError):  # If it is dead, its pipe says so at the next wait.
            worker.pipe.send(points)

    def _spawn(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        begun = self._context.RawValue("q", 0)
        process = self._context.Process(
            target=_work, args=(theirs, begun, *self._start), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, ours, begun, since=time.monotonic())

    def _receive(self, worker: _Worker) -> list[Outcome]:
        try:
            outcomes: list[Outcome] = worker.pipe.recv()
        except (EOFError, OSError):
            return self._bury(worker)
        now = time.monotonic()
        if not worker.ready:
            worker.ready, self._failed_starts = True, 0
        worker.take(outcomes)
        if outcomes:
            each = max(1e-4, sum(o.duration_s for o in outcomes) / len(outcomes))
            target = min(_LARGEST_CHUNK, max(1, int(_CHUNK_S / each)))
            self._chunk = min(target, 2 * self._chunk)
        worker.since = now
        return outcomes

    def _bury(self, worker: _Worker) -> list[Outcome]:
        """Take back what a dead worker held; the point that it was at has one death more."""
        worker.process.join()
        self._forget(worker)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts > 3 * self._limit:
                raise CodesignError(
                    f"worker processes end before they begin ({_ending(worker.process)}); "
                    "--executor serial shows why"
                )
            self._take_back(worker)
            return []
        culprit = worker.culprit()
        self._take_back(worker)
        if culprit is None:
            return []
        deaths = self._deaths[culprit.key] = self._deaths.get(culprit.key, 0) + 1
        if deaths <= self._retries:
            self._queue.appendleft(culprit)
            return []
        return [_failed(culprit, f"its worker died {deaths} times ({_ending(worker.process)})")]

    def _give_up(self, worker: _Worker) -> list[Outcome]:
        """End a worker that takes too long; the point that it was at has failed."""
        worker.process.kill()
        worker.process.join()
        late = list(self._drain(worker))
        self._forget(worker)
        culprit = worker.culprit()
        self._take_back(worker)
        if culprit is None:
            return late
        return [
            *late,
            _failed(culprit, f"took longer than execution.timeout_s ({self._timeout_s:g} s)"),
        ]

    def _drain(self, worker: _Worker) -> list[Outcome]:
        """Outcomes that were sent before the worker ended."""
        late: list[Outcome] = []
        try:
            while worker.pipe.poll():
                outcomes = worker.pipe.recv()
                worker.take(outcomes)
                late += outcomes
        except (EOFError, OSError):
            pass
        return late

    def _take_back(self, worker: _Worker) -> None:
        self._queue.extendleft(reversed(worker.held))
        worker.held.clear()

    def _forget(self, worker: _Worker) -> None:
        worker.pipe.close()
        self._workers.remove(worker)


def _failed(point: Point, error: str) -> Outcome:
    return Outcome(point.key, {}, error, 0.0)


def _ending(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"


def _work(
    pipe: Connection, begun: Any, base: Base, memory_bytes: int | None, engine: type[Engine]
) -> None:
    """The life of a worker: points in, outcomes out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    made = engine(base)
    made.warm()
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
    try:
        pipe.send([])
        while True:
            points: list[Point] = pipe.recv()
            _answer(pipe, begun, made, points)
    except (EOFError, OSError, KeyboardInterrupt):
        return


def _answer(pipe: Connection, begun: Any, engine: Engine, points: list[Point]) -> None:
    done: list[Outcome] = []
    began = time.monotonic()
    for point in points:
        begun.value += 1
        done.append(engine.evaluate(point))
        if time.monotonic() - began > _PER_MESSAGE_S:
            pipe.send(done)
            done, began = [], time.monotonic()
    if done:
        pipe.send(done)


def _limit_memory(beyond_bytes: int) -> None:
    import resource

    with open("/proc/self/statm", encoding="ascii") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + beyond_bytes, hard))
