"""A core of bank-balanced lanes as its parts: a gather unit, lanes with queues, a drain, one clock.

Every part is asked in each cycle what it does; nothing is computed ahead.
"""

from __future__ import annotations

from collections import deque


class Gather:
    """Fetches the activations of one set of banks at a time, into the half that is not in use."""

    def __init__(self, cycles):
        self.cycles = cycles
        self.fetched = deque()
        self.waiting = deque()
        self.left = 0

    def ask_for(self, item):
        self.waiting.append(item)
        if len(self.waiting) == 1:
            self.left = self.cycles

    def tick(self):
        if self.waiting:
            self.left -= 1

    def collect(self):
        """Move finished work to the lanes' side; a fetch of no cycles is done at once."""
        if self.waiting and self.left <= 0:
            self.fetched.append(self.waiting.popleft())
            if self.waiting:
                self.left = self.cycles


class Drain:
    """Carries the results of one block away, a fixed number of values in a cycle."""

    def __init__(self, width):
        self.width = width
        self.values = 0

    @property
    def busy(self):
        return self.values > 0

    def tick(self):
        self.values = max(0, self.values - self.width)


def work_list(keep, m, rows, cols, banks, bank):
    """Blocks in order, each with its sets: a queue of kept columns for every lane and bank."""
    n, k = len(keep), len(keep[0])
    blocks = []
    for left in range(0, n, cols):
        lanes = range(left, min(left + cols, n))
        for top in range(0, m, rows):
            sets = []
            for start in range(0, k, banks * bank):
                queues = {}
                for x in lanes:
                    for b in range(banks):
                        inside = range(start + b * bank, min(start + (b + 1) * bank, k))
                        queues[x, b] = deque(j for j in inside if keep[x][j])
                if any(queues.values()):
                    sets.append(queues)
            blocks.append((range(top, min(top + rows, m)), lanes, sets))
    return blocks


def run(a, w, keep, shape, gather_cycles, drain_width):
    """Product (lists), cycles until the last block begins to drain, of that drain, and MACs."""
    rows, cols, banks, bank = shape
    m, n = len(a), len(w)
    c = [[0] * n for _ in range(m)]
    blocks = work_list(keep, m, rows, cols, banks, bank)
    order = deque((b, s) for b, (_, _, sets) in enumerate(blocks) for s in range(len(sets)))
    gather, drain = Gather(gather_cycles), Drain(drain_width)
    clock = macs = 0
    if order:
        gather.ask_for(order.popleft())
    for number, (height, lanes, sets) in enumerate(blocks):
        for place, queues in enumerate(sets):
            gather.collect()
            while (number, place) not in gather.fetched:
                gather.tick()
                drain.tick()
                clock += 1
                gather.collect()
            gather.fetched.remove((number, place))
            if order:
                gather.ask_for(order.popleft())
            while any(queues.values()):
                for (x, _), queue in queues.items():
                    if queue:
                        j = queue.popleft()
                        for i in height:
                            c[i][x] += a[i][j] * w[x][j]
                            macs += 1
                gather.tick()
                drain.tick()
                clock += 1
        while drain.busy:
            gather.tick()
            drain.tick()
            clock += 1
        drain.values = len(height) * len(lanes)
    last = 0
    while drain.busy:
        drain.tick()
        last += 1
    return c, clock, last, macs
