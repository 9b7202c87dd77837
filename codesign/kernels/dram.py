"""DRAM commands become issue clocks: earliest legal clock given all history, in order and FR-FCFS."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

CHANNEL, RANK, GROUP, BANK, OTHER_RANKS = 0, 1, 2, 3, 4
"""Levels of a rule; the last one speaks of the ranks that the preceding command did not address."""

KEEP, OPEN, CLOSE = 0, 1, 2
"""What a command does to the rows of every bank in its scope."""

ANY_STATE, ROW_OPEN, ALL_CLOSED = 0, 1, 2
"""What a command asks of the banks in its scope."""

ACT, PRE, PREA, RD, WR, RDA, WRA, REFA, REFB = 0, 1, 2, 3, 4, 5, 6, 7, 8
"""Commands that every standard has, in this order; a standard appends its own."""

NEVER = -(1 << 60)
FAR = 1 << 60


class DramTables(NamedTuple):
    """A DRAM channel as integers; nodes are the channel, its ranks, bank groups and banks, in this order."""

    node: np.ndarray
    """[bank, level] -> node."""
    first_bank: np.ndarray
    """[node + 1] of every level's nodes: node n holds banks first_bank[n] to last_bank[n] - 1."""
    last_bank: np.ndarray
    scope: np.ndarray
    effect: np.ndarray
    needs: np.ndarray
    rule_ptr: np.ndarray
    """Rules after command c: rule_ptr[c] to rule_ptr[c + 1]."""
    rule: np.ndarray
    """[rule] -> (level, following command, cycles)."""
    window_ptr: np.ndarray
    window: np.ndarray
    """[entry] -> (ring, level, events in the window, following command, cycles)."""
    ranks: int
    rings: int
    ring_length: int


class DramState(NamedTuple):
    """What a channel remembers: the earliest clock per node and command, open rows, recent events."""

    earliest: np.ndarray
    open_row: np.ndarray
    ring: np.ndarray
    ring_at: np.ndarray


@njit(cache=True, nogil=True)
def fresh_state(tables):
    """A channel with all banks closed and no history."""
    nodes = len(tables.first_bank)
    banks = len(tables.node)
    return DramState(
        np.zeros((nodes, len(tables.scope)), dtype=np.int64),
        np.full(banks, -1, dtype=np.int64),
        np.full((tables.rings + 1, nodes, tables.ring_length), NEVER, dtype=np.int64),
        np.zeros((tables.rings + 1, nodes), dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def earliest_clock(tables, state, command, bank):
    """The first clock at which all timing rules allow a command, whatever the rows are."""
    clock = state.earliest[0, command]
    for level in range(1, tables.scope[command] + 1):
        allowed = state.earliest[tables.node[bank, level], command]
        if allowed > clock:
            clock = allowed
    return clock


@njit(cache=True, nogil=True)
def allowed_state(tables, state, command, bank, row):
    """Whether the rows that are open let a command be sent."""
    needs = tables.needs[command]
    if needs == ANY_STATE:
        return True
    node = tables.node[bank, tables.scope[command]]
    for b in range(tables.first_bank[node], tables.last_bank[node]):
        if needs == ROW_OPEN:
            if state.open_row[b] != row:
                return False
        elif state.open_row[b] >= 0:
            return False
    return True


@njit(cache=True, nogil=True)
def issue(tables, state, command, bank, row, clock):
    """Record a command: rows open or close, and what may follow is pushed back."""
    earliest = state.earliest
    for k in range(tables.rule_ptr[command], tables.rule_ptr[command + 1]):
        level = tables.rule[k, 0]
        following = tables.rule[k, 1]
        allowed = clock + tables.rule[k, 2]
        if level == OTHER_RANKS:
            for other in range(1, tables.ranks + 1):
                if other != tables.node[bank, RANK] and earliest[other, following] < allowed:
                    earliest[other, following] = allowed
        else:
            node = tables.node[bank, level]
            if earliest[node, following] < allowed:
                earliest[node, following] = allowed
    last_ring = -1
    oldest = 0
    for k in range(tables.window_ptr[command], tables.window_ptr[command + 1]):
        ring = tables.window[k, 0]
        node = tables.node[bank, tables.window[k, 1]]
        if ring != last_ring:
            at = state.ring_at[ring, node]
            state.ring[ring, node, at] = clock
            at += 1
            if at == tables.window[k, 2]:
                at = 0
            state.ring_at[ring, node] = at
            oldest = state.ring[ring, node, at]
            last_ring = ring
        following = tables.window[k, 3]
        if following >= 0 and earliest[node, following] < oldest + tables.window[k, 4]:
            earliest[node, following] = oldest + tables.window[k, 4]
    effect = tables.effect[command]
    if effect != KEEP:
        if effect == CLOSE:
            row = -1
        scope = tables.scope[command]
        if scope == BANK:
            state.open_row[bank] = row
        else:
            node = tables.node[bank, scope]
            for b in range(tables.first_bank[node], tables.last_bank[node]):
                state.open_row[b] = row


@njit(cache=True, nogil=True)
def run_commands(tables, state, command, bank, row, not_before):
    """Issue a command program in order, each as early as legal; its clocks, and how many were legal.

    `not_before[i]` holds command i back; a program of length 1 array may serve all. The first command that the
    open rows forbid ends the run: the count is then its index.
    """
    n = len(command)
    clocks = np.empty(n, dtype=np.int64)
    clock = 0
    for i in range(n):
        if not allowed_state(tables, state, command[i], bank[i], row[i]):
            return clocks, i
        start = earliest_clock(tables, state, command[i], bank[i])
        if start > clock:
            clock = start
        if not_before[i] > clock:
            clock = not_before[i]
        issue(tables, state, command[i], bank[i], row[i], clock)
        clocks[i] = clock
    return clocks, n


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
def run_in_order(tables, rule, bank, row, write, arrival, log):
    """Serve requests strictly in order, one command after another: what `run_requests` returns.

    A refresh that falls due is sent before the next command that would not be earlier.
    """
    n = len(bank)
    state = fresh_state(tables)
    done = np.zeros(n, dtype=np.int64)
    served = np.zeros(n, dtype=np.int64)
    commands = np.zeros(len(tables.scope), dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    per_rank = len(tables.node) // tables.ranks
    clock = 1
    next_refresh = rule.refresh_interval if rule.refresh_interval > 0 else FAR
    refreshes = 0
    refreshes_due = 0
    logged = 0
    i = 0
    touched = False
    while i < n:
        target = bank[i]
        target_row = row[i]
        open_row = state.open_row[target]
        if open_row == target_row:
            command = WR if write[i] else RD
        else:
            command = ACT if open_row < 0 else PRE
        start = max(clock, arrival[i] + 1, earliest_clock(tables, state, command, target))
        if refreshes == refreshes_due and next_refresh <= start:
            refreshes_due += rule.refresh_ranks
            clock = max(clock, next_refresh)
            next_refresh += rule.refresh_interval
        if refreshes < refreshes_due:
            target_row = -1
            target = (refreshes % tables.ranks) * per_rank
            command = REFA
            banks = per_rank
            if rule.refresh_per_bank:
                target += (refreshes // tables.ranks) % per_rank
                command = REFB
                banks = 1
            for b in range(target, target + banks):
                if state.open_row[b] >= 0:
                    command = PRE if rule.refresh_per_bank else PREA
            if command >= REFA:
                refreshes += 1
            start = max(clock, earliest_clock(tables, state, command, target))
        else:
            if not touched:
                totals[0 if command >= RD else (1 if command == ACT else 2)] += 1
                touched = True
            if command >= RD:
                served[i] = start
                done[i] = start + (rule.read_cycles if command == RD else 0)
                totals[4] = max(totals[4], done[i])
                follows = i + 1 < n and bank[i + 1] == target and row[i + 1] == target_row
                if rule.closed_page and not follows:
                    command += RDA - RD
        issue(tables, state, command, target, target_row, start)
        clock = start
        commands[command] += 1
        if logged < len(log):
            log[logged, 0] = clock
            log[logged, 1] = command
            log[logged, 2] = target
            log[logged, 3] = i
        logged += 1
        if served[i] > 0:
            i += 1
            touched = False
    totals[3] = logged
    return done, served, arrival, commands, totals
