"""DRAM commands become issue clocks: the earliest legal clock given all history, in order."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

BANK, RANK = 0, 1
"""Scopes of a command."""

KEEP, OPEN, CLOSE = 0, 1, 2
"""What a command does to the rows of every bank in its scope."""

ANY_STATE, ROW_OPEN, ALL_CLOSED = 0, 1, 2
"""What a command asks of the banks in its scope."""

ACT, PRE, PREA, RD, WR, RDA, WRA, REFA, REFB = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Commands that every standard has, in this order; a standard appends its own."""

NEVER = -(1 << 60)
FAR = 1 << 60


class DramTables(NamedTuple):
    """A DRAM channel as integers.

    Nodes are columns of the state: first the banks, then the ranks, last the command buses.
    Commands before which the same rules hold share a timing class; classes are rows of the state
    from 1 on.
    """

    place: np.ndarray
    """[bank] -> (node of its rank, first bank of its rank); in column k what row k of the book
    holds back after a command to this bank: of a rule the place in the flattened state, of a window
    the node."""
    book: np.ndarray
    """[command] -> (scope, effect, needs, class, bus, cycles on the bus, first rule, past the last
    rule, first window, past the last window); then rules (following class, cycles) and windows
    (following class, cycles, ring, commands in the window), which the commands point to. A rule
    has a row for each node that it reaches."""
    shape: np.ndarray
    """(ranks, banks of a rank, classes, rings, length of a ring, commands)."""


SCOPE, EFFECT, NEEDS, CLASS, BUS, BUS_CYCLES, RULES, RULES_END, WINDOWS, WINDOWS_END = range(10)
"""Columns of a command in the book."""

OPEN_ROW = 0
"""Row of the state that holds the open rows of banks, -1 where closed."""


@njit(cache=True, nogil=True)
def fresh_state(shape, banks):
    """A closed channel without a history: clocks [class, node] and recent events [ring, node]."""
    nodes = banks + shape[0] + 1
    clocks = np.zeros((shape[2] + 1, nodes), dtype=np.int64)
    clocks[OPEN_ROW, :banks] = -1
    ring = np.full((shape[3], nodes, shape[4] + 1), NEVER, dtype=np.int64)
    ring[:, :, 0] = 1
    return clocks, ring


# Numba counts references to the array arguments of every call, atomically: 40 % of the run time
# here. Functions that create no array do without (_nrt=False), and are inlined. An index of type
# np.uintp does without the test for counting from an array's end.
@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def earliest_clock(place, book, clocks, command, bank):
    """The first clock at which all timing rules allow a command, whatever the rows are."""
    c, b = np.uintp(command), np.uintp(bank)
    kind = np.uintp(book[c, CLASS])
    clock = max(clocks[book[c, BUS], clocks.shape[1] - 1], clocks[kind, np.uintp(place[b, 0])])
    if book[c, SCOPE] != RANK:
        clock = max(clock, clocks[kind, b])
    return clock


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def allowed_state(place, book, shape, clocks, command, bank, row):
    """Whether the rows that are open let a command be sent."""
    needs = book[command, NEEDS]
    allowed = True
    if needs != ANY_STATE:
        first, past = bank, bank + 1
        if book[command, SCOPE] == RANK:
            first = place[bank, 1]
            past = first + shape[1]
        for b in range(first, past):
            if needs == ROW_OPEN:
                allowed &= clocks[OPEN_ROW, b] == row
            else:
                allowed &= clocks[OPEN_ROW, b] < 0
    return allowed


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def issue(place, book, shape, clocks, flat, ring, command, bank, row, clock):
    """Record a command: what may follow is pushed back, rows open or close.

    `flat` is a view of `clocks` in one dimension.
    """
    c, own_bank = np.uintp(command), np.uintp(bank)
    clocks[book[c, BUS], clocks.shape[1] - 1] = clock + book[c, BUS_CYCLES]
    for k in range(book[c, RULES], book[c, RULES_END]):
        rule = np.uintp(k)
        at = np.uintp(place[own_bank, rule])
        flat[at] = max(flat[at], clock + book[rule, 1])
    for k in range(book[c, WINDOWS], book[c, WINDOWS_END]):
        kind, r, node = np.uintp(book[k, 0]), np.uintp(book[k, 2]), np.uintp(place[own_bank, k])
        if k == book[c, WINDOWS] or book[k, 2] != book[k - 1, 2]:
            oldest = ring[r, node, 0]
            ring[r, node, np.uintp(oldest)] = clock
            ring[r, node, 0] = oldest + 1 if oldest < book[k, 3] else 1
        last = ring[r, node, np.uintp(ring[r, node, 0])]
        clocks[kind, node] = max(clocks[kind, node], last + book[k, 1])
    effect = book[c, EFFECT]
    if book[c, SCOPE] == BANK:
        closed = -1 if effect == CLOSE else clocks[OPEN_ROW, own_bank]
        clocks[OPEN_ROW, own_bank] = row if effect == OPEN else closed
    elif effect != KEEP:
        first = place[own_bank, 1]
        clocks[OPEN_ROW, first : first + shape[1]] = row if effect == OPEN else -1


@njit(cache=True, nogil=True)
def probe(tables, clocks, command, bank, row):
    """Whether the open rows allow a command, and the first clock at which the timing rules do."""
    legal = allowed_state(tables.place, tables.book, tables.shape, clocks, command, bank, row)
    return legal, earliest_clock(tables.place, tables.book, clocks, command, bank)


@njit(cache=True, nogil=True)
def record(tables, clocks, ring, command, bank, row, clock):
    """Issue one command at a clock that the caller has found to be legal."""
    flat = clocks.reshape(-1)
    issue(tables.place, tables.book, tables.shape, clocks, flat, ring, command, bank, row, clock)


@njit(cache=True, nogil=True)
def run_commands(tables, command, bank, row, not_before):
    """Issue a command program in order, each as early as legal; clocks, and how many were legal.

    `not_before[i]` holds command i back. The first command that the open rows forbid ends the run.
    """
    place, book, shape = tables.place, tables.book, tables.shape
    clocks, ring = fresh_state(shape, len(place))
    flat = clocks.reshape(-1)
    n = len(command)
    issued = np.empty(n, dtype=np.int64)
    clock = 0
    for i in range(n):
        if not allowed_state(place, book, shape, clocks, command[i], bank[i], row[i]):
            return issued, i
        start = earliest_clock(place, book, clocks, command[i], bank[i])
        clock = max(clock, start, not_before[i])
        issue(place, book, shape, clocks, flat, ring, command[i], bank[i], row[i], clock)
        issued[i] = clock
    return issued, n


class Controller(NamedTuple):
    """The rules of one channel's memory controller, as integers."""

    queue: int
    """Requests that the read queue holds, and the write queue as well."""
    enter_above: int
    leave_below: int
    """Waiting writes above which writes go first, and below which reads do again."""
    refresh_interval: int
    """0 turns refresh off."""
    refresh_ranks: int
    """Refreshes that fall due together."""
    refresh_per_bank: int
    closed_page: int
    keep_hits: int
    """1: no row closes while a request of its queue still hits it."""
    dual_bus: int
    """1: one column and one row command per clock, 0: one command."""
    read_cycles: int
    """From a RD to the end of its data."""


@njit(cache=True, nogil=True)
def deal(channel, bank, row, column, arrival, sizes):
    """Number the requests by channel, in one pass over them and one over the channels.

    `sizes` are the channels, banks, rows and columns. Returns the numbers, channel by channel;
    where each channel's begin; whether a place does not exist; whether arrivals are negative or
    fall.
    """
    n, channels = len(channel), sizes[0]
    begins = np.zeros(channels + 1, dtype=np.int64)
    outside, falls = False, False
    before = 0
    for i in range(n):
        c, b, r, k, at = channel[i], bank[i], row[i], column[i], arrival[i]
        exists = (c >= 0) & (c < channels) & (b >= 0) & (b < sizes[1])
        exists &= (r >= 0) & (r < sizes[2]) & (k >= 0) & (k < sizes[3])
        outside |= not exists
        falls |= at < before
        before = at
        begins[c + 1 if exists else 0] += 1
    begins[0] = 0
    for c in range(channels):
        begins[c + 1] += begins[c]
    order = np.empty(0 if outside else n, dtype=np.int64)
    ends = begins.copy()
    for i in range(len(order)):
        order[ends[channel[i]]] = i
        ends[channel[i]] += 1
    return order, begins, outside, falls


@njit(cache=True, nogil=True)
def run_in_order(tables, rule, chosen, bank, row, write, arrival, clocks_of, log):
    """Serve the chosen requests strictly in order, one command after another; `run_requests` says
    what is written and returned.

    A refresh that falls due is sent before the next command that would not be earlier.
    """
    place, book, shape = tables.place, tables.book, tables.shape
    clocks, ring = fresh_state(shape, len(place))
    flat = clocks.reshape(-1)
    n = len(chosen)
    done, served, entered = clocks_of[0], clocks_of[1], clocks_of[2]
    commands = np.zeros(shape[5], dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    ranks, per_rank = shape[0], shape[1]
    clock = 1
    next_refresh = rule.refresh_interval if rule.refresh_interval > 0 else FAR
    refreshes = 0
    refreshes_due = 0
    logged = 0
    k = 0
    touched = False
    while k < n:
        i = chosen[k]
        target = bank[i]
        target_row = row[i]
        open_row = clocks[OPEN_ROW, target]
        if open_row == target_row:
            command = WR if write[i] else RD
        else:
            command = ACT if open_row < 0 else PRE
        start = max(clock, arrival[i] + 1, earliest_clock(place, book, clocks, command, target))
        if refreshes == refreshes_due and next_refresh <= start:
            refreshes_due += rule.refresh_ranks
            clock = max(clock, next_refresh)
            next_refresh += rule.refresh_interval
        if refreshes < refreshes_due:
            target_row = -1
            target = (refreshes % ranks) * per_rank
            command = REFA
            banks = per_rank
            if rule.refresh_per_bank:
                target += (refreshes // ranks) % per_rank
                command = REFB
                banks = 1
            for b in range(target, target + banks):
                if clocks[OPEN_ROW, b] >= 0:
                    command = PRE if rule.refresh_per_bank else PREA
            if command >= REFA:
                refreshes += 1
            start = max(clock, earliest_clock(place, book, clocks, command, target))
        else:
            if not touched:
                totals[0 if command >= RD else (1 if command == ACT else 2)] += 1
                touched = True
            if command >= RD:
                served[i] = start
                done[i] = start + (rule.read_cycles if command == RD else 0)
                totals[4] = max(totals[4], done[i])
                entered[i] = arrival[i]
                after = chosen[min(k + 1, n - 1)]
                follows = k + 1 < n and bank[after] == target and row[after] == target_row
                if rule.closed_page and not follows:
                    command += RDA - RD
        issue(place, book, shape, clocks, flat, ring, command, target, target_row, start)
        clock = start
        commands[command] += 1
        if logged < len(log):
            log[logged, 0] = clock
            log[logged, 1] = command
            log[logged, 2] = target
            log[logged, 3] = i
        logged += 1
        if served[i] > 0:
            k += 1
            touched = False
    totals[3] = logged
    return commands, totals
