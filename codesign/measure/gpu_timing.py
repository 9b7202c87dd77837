"""Latency with a warm and a cold L2, and energy of long loops, on any device that can time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

Launch = Callable[[], object]

WINDOW_US = 60_000.0
"""Time that the repeats of one latency take together."""
BATCH_US = 200.0
"""Launches are timed in batches of about this length when the L2 is warm."""
MOST_COPIES, FEWEST_REPEATS, MOST_REPEATS = 200, 10, 200
ENERGY_S, WARM_UP_S = 3.0, 0.5
"""Least length of a loop whose energy is read: a counter of energy moves every 20 to 100 ms."""
_ENERGY_BATCH_US = 50_000.0
_ENERGY_MOST_COPIES = 2000


@dataclass(frozen=True, slots=True)
class Sample:
    """State of the board at one moment; None where the board does not tell."""

    sm_mhz: float | None = None
    memory_mhz: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None


class Pending(Protocol):
    """Work that was queued and is timed."""

    def done(self) -> bool:
        """Whether the work is over; does not wait."""
        ...

    def times_us(self) -> Sequence[float]:
        """The time of each repeat; waits for the last."""
        ...


class Device(Protocol):
    """What timing needs of a device."""

    flush_us: float
    """About how long it takes to push all operands out of the L2."""

    def record(self, launch: Launch, copies: int) -> Launch:
        """One call that runs `copies` launches back to back without the host between them."""
        ...

    def start(self, body: Launch, repeats: int, *, cold: bool) -> Pending:
        """Queue repeats of `body`, each timed; cold: the L2 holds nothing of use before it."""
        ...

    def sample(self) -> Sample:
        """The state of the board now; takes a few milliseconds."""
        ...

    def energy_j(self) -> float | None:
        """A counter of energy that only grows; None where the board has none."""
        ...

    def now_s(self) -> float:
        """A clock."""
        ...

    def rest(self, seconds: float) -> None:
        """Let the device idle."""
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Microseconds of one launch: order statistics over `count` repeats of `copies` launches."""

    median_us: float
    p10_us: float
    p90_us: float
    count: int
    copies: int


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which a share of ordered values lies, linear between neighbours.

    >>> quantile([1.0, 2.0, 4.0], 0.75)
    3.0
    """
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def measure_latency(
    device: Device,
    launch: Launch,
    *,
    cold: bool,
    window_us: float = WINDOW_US,
) -> tuple[Latency, Sample]:
    """How long a launch takes, and the state of the board meanwhile.

    Warm: launches in batches of BATCH_US that run back to back, so that each finds the operands
    of the one before. Cold: each launch alone, after the L2 was flushed.
    """
    alone = device.record(launch, 1)
    pilot_us = max(0.1, median(device.start(alone, 3, cold=cold).times_us()))
    copies = 1 if cold else max(1, min(MOST_COPIES, round(BATCH_US / pilot_us)))
    body = alone if copies == 1 else device.record(launch, copies)
    each_us = pilot_us * copies + (device.flush_us if cold else 0.0)
    repeats = max(FEWEST_REPEATS, min(MOST_REPEATS, int(window_us / each_us)))
    pending = device.start(body, repeats, cold=cold)
    samples = [device.sample()]
    while not pending.done():
        samples.append(device.sample())
    times = sorted(us / copies for us in pending.times_us())
    found = Latency(
        quantile(times, 0.5), quantile(times, 0.1), quantile(times, 0.9), len(times), copies
    )
    return found, typical(samples)


def typical(samples: Sequence[Sample]) -> Sample:
    """The median of each quantity over the samples that have it."""

    def middle(values: Sequence[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return median(known) if known else None

    return Sample(
        middle([s.sm_mhz for s in samples]),
        middle([s.memory_mhz for s in samples]),
        middle([s.power_w for s in samples]),
        middle([s.temperature_c for s in samples]),
    )


@dataclass(frozen=True, slots=True)
class Energy:
    """Energy of a steady loop: of the board's counter, or of sampled power where it has none."""

    seconds: float
    launches: int
    energy_j: float
    counted: bool


def measure_energy(
    device: Device,
    launch: Launch | None,
    *,
    seconds: float = ENERGY_S,
) -> tuple[Energy, Sample]:
    """Energy of a loop of launches of at least `seconds`, after a warm-up; None: the idle board."""
    samples: list[Sample] = []
    run, copies = _steady(device, launch, samples)
    warm = device.now_s() + WARM_UP_S
    while device.now_s() < warm:
        run()
    samples.clear()
    before, start = device.energy_j(), device.now_s()
    rounds = 0
    while device.now_s() - start < seconds:
        run()
        rounds += 1
    spent, after = device.now_s() - start, device.energy_j()
    found = typical(samples)
    if before is not None and after is not None:
        return Energy(spent, rounds * copies, after - before, True), found
    powers = [one.power_w for one in samples if one.power_w is not None]
    joules = spent * sum(powers) / len(powers) if powers else float("nan")
    return Energy(spent, rounds * copies, joules, False), found


def _steady(
    device: Device, launch: Launch | None, samples: list[Sample]
) -> tuple[Callable[[], None], int]:
    """A round of about 50 ms that appends one sample, and the launches that it holds."""
    if launch is None:

        def idle() -> None:
            device.rest(_ENERGY_BATCH_US / 1e6)
            samples.append(device.sample())

        return idle, 0
    alone = device.record(launch, 1)
    pilot_us = max(0.1, median(device.start(alone, 3, cold=False).times_us()))
    copies = max(1, min(_ENERGY_MOST_COPIES, round(_ENERGY_BATCH_US / pilot_us)))
    body = device.record(launch, copies)
    repeats = max(1, round(_ENERGY_BATCH_US / (pilot_us * copies)))

    def busy() -> None:
        pending = device.start(body, repeats, cold=False)
        samples.append(device.sample())
        pending.times_us()

    return busy, copies * repeats
