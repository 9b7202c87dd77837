"""A device with a clock of its own, on which what a launch costs is planted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from codesign.measure.gpu_timing import Launch, Sample


@dataclass
class FakePending:
    times: list[float]
    polls_left: int = 2

    def done(self) -> bool:
        self.polls_left -= 1
        return self.polls_left <= 0

    def times_us(self) -> Sequence[float]:
        return self.times


@dataclass
class FakeDevice:
    """Launches cost `warm_us` or, after a flush, `cold_us`, each plus the next of `jitter_us`."""

    warm_us: float = 1000.0
    cold_us: float = 1500.0
    jitter_us: Sequence[float] = (0.0,)
    flush_us: float = 70.0
    power_w: float = 500.0
    idle_w: float = 100.0
    counter: bool = True
    captured: bool = True
    clock_us: float = 0.0
    joules: float = 1234.5
    launches: int = 0
    flushes: int = 0
    warm: bool = False
    released: int = 0
    recorded: list[int] = field(default_factory=list)

    def spend(self, us: float, power_w: float) -> None:
        self.clock_us += us
        self.joules += us * 1e-6 * power_w

    def launch(self) -> None:
        cost = self.warm_us if self.warm else self.cold_us
        self.spend(cost + self.jitter_us[self.launches % len(self.jitter_us)], self.power_w)
        self.warm = True
        self.launches += 1

    def record(self, launch: Launch, copies: int) -> Launch:
        self.recorded.append(copies)

        def body() -> None:
            for _ in range(copies):
                launch()

        return body

    def start(self, body: Callable[[], object], repeats: int, *, cold: bool) -> FakePending:
        times = []
        for _ in range(repeats):
            if cold:
                self.spend(self.flush_us, self.power_w)
                self.warm = False
                self.flushes += 1
            before = self.clock_us
            body()
            times.append(self.clock_us - before)
        return FakePending(times)

    def sample(self) -> Sample:
        return Sample(1980.0, 3201.0, self.power_w if self.launches else self.idle_w, 50.0)

    def energy_j(self) -> float | None:
        return self.joules if self.counter else None

    def now_s(self) -> float:
        return self.clock_us * 1e-6

    def rest(self, seconds: float) -> None:
        self.spend(seconds * 1e6, self.idle_w)

    def release(self) -> None:
        self.released += 1
