"""DRAM commands and a memory controller as their rules define them: a ticking clock, all history.

Nothing here comes from the package: a channel is given as plain rules and commands.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple


class Rule(NamedTuple):
    level: str  # rank, bank_group, bank or other_ranks
    after: tuple[str, ...]
    before: tuple[str, ...]
    gap: int
    window: int


class Command(NamedTuple):
    scope: str  # rank or bank
    needs: str  # any, open or closed
    effect: str  # keep, open or close
    bus: str
    bus_cycles: int


@dataclass
class Channel:
    """Judges every command against all commands before it."""

    rules: list[Rule]
    commands: dict[str, Command]
    ranks: int
    groups: int
    banks_per_group: int
    rows: dict[int, int] = field(default_factory=dict)
    history: dict[tuple[object, int], list[int]] = field(default_factory=dict)
    """Clocks of all commands that a rule counts from, by rule and node; a bus: ends of its use."""
    _before: dict[str, list[tuple[int, Rule]]] = field(default_factory=dict)

    def rank_of(self, bank):
        return bank // (self.groups * self.banks_per_group)

    def in_scope(self, name, bank):
        if self.commands[name].scope == "bank":
            return [bank]
        size = self.groups * self.banks_per_group
        return list(range(self.rank_of(bank) * size, (self.rank_of(bank) + 1) * size))

    def node(self, level, bank):
        if level in ("rank", "other_ranks"):
            return self.rank_of(bank)
        return bank // self.banks_per_group if level == "bank_group" else bank

    def state_allows(self, name, bank, row):
        needs = self.commands[name].needs
        for b in self.in_scope(name, bank):
            if needs == "open" and self.rows.get(b) != row:
                return False
            if needs == "closed" and b in self.rows:
                return False
        return True

    def time_allows(self, name, bank, clock):
        if any(clock < end for end in self.history.get((self.commands[name].bus, 0), ())[-1:]):
            return False
        for number, rule in self.rules_before(name):
            events = self.history.get((number, self.node(rule.level, bank)), ())
            if len(events) >= rule.window and clock < events[-rule.window] + rule.gap:
                return False
        return True

    def rules_before(self, name):
        if name not in self._before:
            self._before[name] = [(i, r) for i, r in enumerate(self.rules) if name in r.before]
        return self._before[name]

    def legal(self, name, bank, row, clock):
        return self.state_allows(name, bank, row) and self.time_allows(name, bank, clock)

    def send(self, name, bank, row, clock):
        assert self.legal(name, bank, row, clock)
        command = self.commands[name]
        self.history.setdefault((command.bus, 0), []).append(clock + command.bus_cycles)
        for number, rule in enumerate(self.rules):
            if name in rule.after:
                nodes = [self.node(rule.level, bank)]
                if rule.level == "other_ranks":
                    nodes = [rank for rank in range(self.ranks) if rank not in nodes]
                for node in nodes:
                    self.history.setdefault((number, node), []).append(clock)
        for b in self.in_scope(name, bank):
            if self.commands[name].effect == "open":
                self.rows[b] = row
            elif self.commands[name].effect == "close":
                self.rows.pop(b, None)


def run_program(channel, program):
    """Clocks of (command, bank, row, not before), each sent at the first clock that allows it."""
    clocks = []
    clock = 0
    for name, bank, row, not_before in program:
        while clock < not_before or not channel.time_allows(name, bank, clock):
            clock += 1
        channel.send(name, bank, row, clock)
        clocks.append(clock)
    return clocks


class Request(NamedTuple):
    bank: int
    row: int
    column: int
    write: bool
    arrival: int


class Setup(NamedTuple):
    queue: int
    interval: int  # cycles between refreshes, 0 for none
    per_bank: bool
    closed_page: bool
    keep_hits: bool
    dual_bus: bool
    read_cycles: int


@dataclass
class Outcome:
    done: list[int]
    served: list[int]
    entered: list[int]
    log: list[tuple[int, str, int, int]]
    classes: dict[str, int]


@dataclass
class _Waiting:
    number: int
    request: Request
    entered: int
    touched: bool = False


class Controller:
    """First ready, first come: one tick after another, as the rules tell it."""

    def __init__(self, channel: Channel, setup: Setup, requests: list[Request]):
        self.channel, self.setup, self.requests = channel, setup, requests
        n = len(requests)
        self.out = Outcome([0] * n, [0] * n, [0] * n, [], {"hit": 0, "miss": 0, "conflict": 0})
        self.queues: dict[bool, list[_Waiting]] = {False: [], True: []}
        self.active: list[_Waiting] = []
        self.refreshes: deque[tuple[str, int]] = deque()
        self.write_mode = False
        self.clock = 0
        self.next_request = 0
        self.refresh_number = 0

    def run(self):
        while True:
            self.offer()
            waiting = any(self.queues.values()) or self.active
            sent_all = self.next_request == len(self.requests)
            if sent_all and not waiting and self.clock >= max(self.out.done, default=0):
                return self.out
            self.tick()

    def offer(self):
        if self.next_request == len(self.requests):
            return
        number, request = self.next_request, self.requests[self.next_request]
        if request.arrival > self.clock:
            return
        place = (request.bank, request.row, request.column)
        if any(
            place == (w.request.bank, w.request.row, w.request.column) for w in self.queues[True]
        ):
            self.out.done[number] = self.clock + 1
        elif len(self.queues[request.write]) < self.setup.queue:
            self.queues[request.write].append(_Waiting(number, request, self.clock))
        else:
            return
        self.out.entered[number] = self.clock
        self.next_request += 1

    def tick(self):
        self.clock += 1
        every = self.setup.interval
        if every and self.clock % every == 0:
            size = self.channel.groups * self.channel.banks_per_group
            for rank in range(self.channel.ranks):
                if self.setup.per_bank:
                    bank = rank * size + self.refresh_number % size
                    self.refreshes.append(("REFB", bank))
                else:
                    self.refreshes.append(("REFA", rank * size))
            self.refresh_number += 1
        for kinds in (("column",), ("row",)) if self.setup.dual_bus else (("column", "row"),):
            self.choose(kinds)

    def ready(self, name, bank, row):
        return self.channel.legal(name, bank, row, self.clock)

    def barred(self, name, bank):
        """A precharge waits for the requests whose activates have been sent."""
        banks = self.channel.in_scope(name, bank)
        return any(w.request.bank in banks for w in self.active)

    def next_command(self, request):
        row = self.channel.rows.get(request.bank)
        if row is None:
            return "ACT"
        if row != request.row:
            return "PRE"
        return "WR" if request.write else "RD"

    def choose(self, kinds):
        if "column" in kinds:
            able = [
                w
                for w in self.active
                if self.ready(self.next_command(w.request), w.request.bank, w.request.row)
            ]
            if able:
                self.serve(min(able, key=lambda w: w.entered), self.active)
                return
        if self.refreshes:
            if "row" in kinds:
                self.refresh()
            return
        queue = self.chosen_queue()
        able = []
        for w in queue:
            name = self.next_command(w.request)
            kind = "column" if name in ("RD", "WR") else "row"
            if kind not in kinds or not self.ready(name, w.request.bank, w.request.row):
                continue
            if name == "PRE" and self.barred(name, w.request.bank):
                continue
            hits = any(
                self.channel.rows.get(o.request.bank) == o.request.row
                for o in queue
                if o.request.bank == w.request.bank
            )
            if name == "PRE" and self.setup.keep_hits and hits:
                continue
            able.append(w)
        if able:
            self.serve(min(able, key=lambda w: w.entered), queue)

    def chosen_queue(self):
        reads, writes = len(self.queues[False]), len(self.queues[True])
        if not self.write_mode:
            self.write_mode = writes > 0.8 * self.setup.queue or reads == 0
        elif writes < 0.2 * self.setup.queue and reads > 0:
            self.write_mode = False
        return self.queues[self.write_mode]

    def refresh(self):
        name, bank = self.refreshes[0]
        if any(b in self.channel.rows for b in self.channel.in_scope(name, bank)):
            name = "PRE" if name == "REFB" else "PREA"
            if self.barred(name, bank):
                return
        if self.ready(name, bank, -1):
            self.issue(name, bank, -1, -1)
            if name in ("REFA", "REFB"):
                self.refreshes.popleft()

    def serve(self, waiting, queue):
        request = waiting.request
        name = self.next_command(request)
        if queue is not self.active and not waiting.touched:
            waiting.touched = True
            self.out.classes[{"ACT": "miss", "PRE": "conflict"}.get(name, "hit")] += 1
        if name == "ACT":
            queue.remove(waiting)
            self.active.append(waiting)
        elif name in ("RD", "WR"):
            queue.remove(waiting)
            self.out.served[waiting.number] = self.clock
            end = self.clock + (0 if request.write else self.setup.read_cycles)
            self.out.done[waiting.number] = end
            others = [*self.queues[False], *self.queues[True], *self.active]
            same = [o for o in others if o.request[:2] == request[:2]]
            if self.setup.closed_page and not same:
                name += "A"
        self.issue(name, request.bank, request.row, waiting.number)

    def issue(self, name, bank, row, number):
        self.channel.send(name, bank, row, self.clock)
        self.out.log.append((self.clock, name, bank, number))


def run_in_order(channel, setup, requests):
    """One request after the other, command by command, refreshes as soon as they are due."""
    n = len(requests)
    out = Outcome(
        [0] * n, [0] * n, [r.arrival for r in requests], [], {"hit": 0, "miss": 0, "conflict": 0}
    )
    size = channel.groups * channel.banks_per_group
    refreshes: deque[tuple[str, int]] = deque()
    due, number, clock, i, touched = setup.interval, 0, 1, 0, False
    while i < n:
        request = requests[i]
        while setup.interval and due <= clock:
            for rank in range(channel.ranks):
                bank = rank * size + (number % size if setup.per_bank else 0)
                refreshes.append(("REFB" if setup.per_bank else "REFA", bank))
            due += setup.interval
            number += 1
        if refreshes:
            name, bank = refreshes[0]
            row = -1
            if any(b in channel.rows for b in channel.in_scope(name, bank)):
                name = "PRE" if name == "REFB" else "PREA"
        else:
            bank, row = request.bank, request.row
            opened = channel.rows.get(bank)
            name = "ACT" if opened is None else "WR" if request.write else "RD"
            if opened is not None and opened != row:
                name = "PRE"
        early = not refreshes and clock <= request.arrival
        if early or not channel.legal(name, bank, row, clock):
            clock += 1
            continue
        if refreshes:
            if name in ("REFA", "REFB"):
                refreshes.popleft()
        else:
            if not touched:
                out.classes[{"ACT": "miss", "PRE": "conflict"}.get(name, "hit")] += 1
                touched = True
            if name in ("RD", "WR"):
                out.served[i] = clock
                out.done[i] = clock + (0 if request.write else setup.read_cycles)
                follows = i + 1 < n and requests[i + 1][:2] == request[:2]
                if setup.closed_page and not follows:
                    name += "A"
                i, touched = i + 1, False
        channel.send(name, bank, row, clock)
        out.log.append((clock, name, bank, -1))
    return out
