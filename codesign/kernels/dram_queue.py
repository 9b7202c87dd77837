"""Memory requests become DRAM commands: a first-ready, first-come controller with finite queues.

`fresh_state`, `earliest_clock` and `issue` repeat those of `kernels/dram.py` word for word (a test compares them),
because a cached kernel may call jitted functions of its own file only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from codesign.kernels.dram import (
    ACT,
    BANK,
    CLOSE,
    FAR,
    KEEP,
    NEVER,
    OTHER_RANKS,
    PRE,
    PREA,
    RANK,
    RD,
    RDA,
    REFA,
    REFB,
    WR,
    DramState,
)


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


class Queues(NamedTuple):
    """Waiting requests: queue 0 reads, 1 writes; a linked list per bank, oldest first."""

    request: np.ndarray
    row: np.ndarray
    touched: np.ndarray
    next: np.ndarray
    free: np.ndarray
    waiting: np.ndarray
    head: np.ndarray
    tail: np.ndarray
    hit: np.ndarray
    """[queue, bank] -> oldest slot whose row is open, or -1; `miss`: oldest slot of another row."""
    miss: np.ndarray
    busy: np.ndarray
    """[queue, :busy_banks[queue]]: banks that have requests; `busy_at` is its inverse."""
    busy_at: np.ndarray
    busy_banks: np.ndarray
    active: np.ndarray
    """[bank] -> request whose ACT has been sent, or -1."""


@njit(cache=True, nogil=True)
def _empty_queues(size, banks):
    free = np.empty((2, size), dtype=np.int64)
    for s in range(size):
        free[0, s] = s
        free[1, s] = size + s
    none = np.full((6, 2, banks), -1, dtype=np.int64)
    return Queues(
        np.empty(2 * size, dtype=np.int64),
        np.empty(2 * size, dtype=np.int64),
        np.empty(2 * size, dtype=np.int64),
        np.empty(2 * size, dtype=np.int64),
        free,
        np.zeros(2, dtype=np.int64),
        none[0],
        none[1],
        none[2],
        none[3],
        none[4],
        none[5],
        np.zeros(2, dtype=np.int64),
        np.full(banks, -1, dtype=np.int64),
    )


@njit(cache=True, nogil=True)
def _sort_out(queues, q, bank, open_row):
    """Find the oldest hit and the oldest other request of a bank."""
    hit = -1
    miss = -1
    s = queues.head[q, bank]
    while s >= 0 and (hit < 0 or miss < 0):
        if queues.row[s] == open_row:
            if hit < 0:
                hit = s
        elif miss < 0:
            miss = s
        s = queues.next[s]
    queues.hit[q, bank] = hit
    queues.miss[q, bank] = miss


@njit(cache=True, nogil=True)
def _enqueue(queues, q, bank, row, request, open_row):
    s = queues.free[q, queues.waiting[q]]
    queues.waiting[q] += 1
    queues.request[s] = request
    queues.row[s] = row
    queues.touched[s] = 0
    queues.next[s] = -1
    if queues.head[q, bank] < 0:
        queues.head[q, bank] = s
        at = queues.busy_banks[q]
        queues.busy[q, at] = bank
        queues.busy_at[q, bank] = at
        queues.busy_banks[q] = at + 1
    else:
        queues.next[queues.tail[q, bank]] = s
    queues.tail[q, bank] = s
    if row == open_row:
        if queues.hit[q, bank] < 0:
            queues.hit[q, bank] = s
    elif queues.miss[q, bank] < 0:
        queues.miss[q, bank] = s


@njit(cache=True, nogil=True)
def _unlink(queues, q, bank, slot, open_row):
    before = -1
    s = queues.head[q, bank]
    while s != slot:
        before = s
        s = queues.next[s]
    after = queues.next[slot]
    if before < 0:
        queues.head[q, bank] = after
    else:
        queues.next[before] = after
    if after < 0:
        queues.tail[q, bank] = before
    if before < 0 and after < 0:
        last = queues.busy_banks[q] - 1
        moved = queues.busy[q, last]
        at = queues.busy_at[q, bank]
        queues.busy[q, at] = moved
        queues.busy_at[q, moved] = at
        queues.busy_banks[q] = last
    queues.waiting[q] -= 1
    queues.free[q, queues.waiting[q]] = slot
    _sort_out(queues, q, bank, open_row)


@njit(cache=True, nogil=True)
def _bank_clock(tables, state, command, bank):
    """`earliest_clock` of a command whose scope is one bank."""
    a = max(state.earliest[0, command], state.earliest[tables.node[bank, 1], command])
    b = max(
        state.earliest[tables.node[bank, 2], command], state.earliest[tables.node[bank, 3], command]
    )
    return max(a, b)


@njit(cache=True, nogil=True)
def _pick(tables, state, queues, q, now, kinds, keep_hits):
    """The request of a queue to serve next: its slot, command and clock (FAR if there is none).

    The earliest clock wins, then the oldest request. kinds: 1 column commands, 2 row commands, 3 both.
    """
    best = -1
    best_command = -1
    best_clock = FAR
    best_request = FAR
    for k in range(queues.busy_banks[q]):
        bank = queues.busy[q, k]
        s = queues.hit[q, bank]
        if kinds & 1 and s >= 0:
            command = RD + q
            clock = max(now, _bank_clock(tables, state, command, bank))
            if clock < best_clock or (clock == best_clock and queues.request[s] < best_request):
                best, best_command, best_clock, best_request = s, command, clock, queues.request[s]
        if not kinds & 2 or (keep_hits and s >= 0):
            continue
        s = queues.miss[q, bank]
        if s < 0 or queues.active[bank] >= 0:
            continue
        command = ACT if state.open_row[bank] < 0 else PRE
        clock = max(now, _bank_clock(tables, state, command, bank))
        if clock < best_clock or (clock == best_clock and queues.request[s] < best_request):
            best, best_command, best_clock, best_request = s, command, clock, queues.request[s]
    return best, best_command, best_clock


@njit(cache=True, nogil=True)
def _fate(queues, request, bank, row, column, write, size):
    """What happens to an offered request: 0 refused, 1 queued, 2 met by a waiting write to its address."""
    s = queues.head[1, bank[request]]
    while s >= 0:
        other = queues.request[s]
        if row[other] == row[request] and column[other] == column[request]:
            return 2
        s = queues.next[s]
    return 1 if queues.waiting[1 if write[request] else 0] < size else 0


@njit(cache=True, nogil=True)
def _pick_active(tables, state, queues, active_banks, count, write, now):
    """The activated request to serve next: its place in the list, command and clock."""
    best, best_command, best_clock, best_request = -1, -1, FAR, FAR
    for k in range(count):
        request = queues.active[active_banks[k]]
        command = WR if write[request] else RD
        clock = max(now, _bank_clock(tables, state, command, active_banks[k]))
        if clock < best_clock or (clock == best_clock and request < best_request):
            best, best_command, best_clock, best_request = k, command, clock, request
    return best, best_command, best_clock


@njit(cache=True, nogil=True)
def _pick_refresh(tables, state, queues, number, rule, now):
    """The next command of a refresh: its command, bank and clock (FAR while an activated request bars it)."""
    banks = len(tables.node) // tables.ranks
    bank = (number % tables.ranks) * banks
    refresh, close = REFA, PREA
    if rule.refresh_per_bank:
        bank += (number // tables.ranks) % banks
        banks = 1
        refresh, close = REFB, PRE
    command = refresh
    for b in range(bank, bank + banks):
        if state.open_row[b] >= 0:
            command = close
    if command == close:
        for b in range(bank, bank + banks):
            if queues.active[b] >= 0:
                return command, bank, FAR
    return command, bank, max(now, earliest_clock(tables, state, command, bank))


@njit(cache=True, nogil=True)
def run_requests(tables, rule, bank, row, column, write, arrival, log):
    """Serve requests first-ready, first-come: when each is done, and what the channel did for it.

    At most one request enters per clock, in order, once the clock has reached its arrival and its queue has room.
    Returns done clocks, clocks of the column commands (0: none needed), entry clocks, commands by kind,
    (row hits, misses, conflicts, entries of the log, last clock). `log` takes (clock, command, bank, request)
    while it has room.
    """
    n = len(bank)
    banks = len(tables.node)
    state = fresh_state(tables)
    queues = _empty_queues(rule.queue, banks)
    done = np.zeros(n, dtype=np.int64)
    served = np.zeros(n, dtype=np.int64)
    entered = np.zeros(n, dtype=np.int64)
    commands = np.zeros(len(tables.scope), dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    active_banks = np.empty(banks, dtype=np.int64)
    active_count = 0
    head = 0
    clock = 0
    last = 0
    write_mode = 0
    refreshes = 0
    refreshes_due = 0
    next_refresh = rule.refresh_interval if rule.refresh_interval > 0 else FAR
    logged = 0
    while True:
        bound = FAR
        if head < n and arrival[head] <= clock:
            fate = _fate(queues, head, bank, row, column, write, rule.queue)
            if fate > 0:
                entered[head] = clock
                if fate == 2:
                    done[head] = clock + 1
                    last = max(last, clock + 1)
                else:
                    _enqueue(
                        queues,
                        1 if write[head] else 0,
                        bank[head],
                        row[head],
                        head,
                        state.open_row[bank[head]],
                    )
                head += 1
                if head < n and (
                    arrival[head] > clock + 1
                    or _fate(queues, head, bank, row, column, write, rule.queue) > 0
                ):
                    bound = max(arrival[head], clock + 1) + 1
        elif head < n:
            bound = arrival[head] + 1
        idle = head == n and queues.waiting[0] + queues.waiting[1] + active_count == 0
        if idle:
            if clock >= last:
                break
            bound = last + 1
        now = clock + 1
        if now == next_refresh:
            refreshes_due += rule.refresh_ranks
            next_refresh += rule.refresh_interval
        bound = min(bound, next_refresh)

        # two rounds when the channel has a column and a row bus, one otherwise
        moved = False
        wake = FAR
        for turn in range(1 + rule.dual_bus):
            kinds = 3 if rule.dual_bus == 0 else turn + 1
            source, slot, command, at, q = 0, -1, -1, FAR, 0
            if kinds & 1 and active_count > 0:
                slot, command, at = _pick_active(
                    tables, state, queues, active_banks, active_count, write, now
                )
            place = -1
            if at > now:
                if refreshes < refreshes_due:
                    if kinds & 2:
                        other, place, other_at = _pick_refresh(
                            tables, state, queues, refreshes, rule, now
                        )
                        if other_at < at:
                            source, command, at = 2, other, other_at
                else:
                    if write_mode == 0:
                        if queues.waiting[1] > rule.enter_above or queues.waiting[0] == 0:
                            write_mode = 1
                    elif queues.waiting[1] < rule.leave_below and queues.waiting[0] > 0:
                        write_mode = 0
                    q = write_mode
                    other_slot, other, other_at = _pick(
                        tables, state, queues, q, now, kinds, rule.keep_hits
                    )
                    if other_at < at:
                        source, slot, command, at = 1, other_slot, other, other_at
            wake = min(wake, at)
            if rule.dual_bus == 0 and at < bound:
                now = at
            if at > now:
                continue
            moved = True
            request = -1
            if source == 0:
                target = active_banks[slot]
                request = queues.active[target]
                queues.active[target] = -1
                active_count -= 1
                active_banks[slot] = active_banks[active_count]
            elif source == 1:
                request = queues.request[slot]
                target = bank[request]
                if queues.touched[slot] == 0:
                    queues.touched[slot] = 1
                    totals[0 if command >= RD else (1 if command == ACT else 2)] += 1
                if command != PRE:
                    _unlink(queues, q, target, slot, state.open_row[target])
                if command == ACT:
                    queues.active[target] = request
                    active_banks[active_count] = target
                    active_count += 1
            else:
                target = place
                if command >= REFA:
                    refreshes += 1
            open_row = row[request] if request >= 0 else -1
            if command == RD or command == WR:
                served[request] = now
                done[request] = now + (rule.read_cycles if command == RD else 0)
                last = max(last, done[request])
                others = max(queues.hit[0, target], queues.hit[1, target], queues.active[target])
                if rule.closed_page and others < 0:
                    command += RDA - RD
            issue(tables, state, command, target, open_row, now)
            commands[command] += 1
            if logged < len(log):
                log[logged, 0] = now
                log[logged, 1] = command
                log[logged, 2] = target
                log[logged, 3] = request
            logged += 1
            if tables.effect[command] != KEEP:
                first, past = target, target + 1
                if tables.scope[command] != BANK:
                    node = tables.node[target, tables.scope[command]]
                    first, past = tables.first_bank[node], tables.last_bank[node]
                for b in range(first, past):
                    for k in range(2):
                        _sort_out(queues, k, b, state.open_row[b])
        clock = now if moved else min(wake, bound) - 1
        if clock >= FAR - 1:
            break
    totals[3] = logged
    totals[4] = last
    return done, served, entered, commands, totals
