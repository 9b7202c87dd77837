"""Memory requests become DRAM commands: a first-ready, first-come controller with finite queues.

`fresh_state`, `earliest_clock` and `issue` repeat those of `kernels/dram.py` word for word (a test compares them),
because a cached kernel may call jitted functions of its own file only.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from codesign.kernels.dram import (
    ACT,
    BANK,
    BUS,
    BUS_CYCLES,
    CLASS,
    EFFECT,
    FAR,
    KEEP,
    NEVER,
    OPEN,
    OPEN_ROW,
    OTHER_RANKS,
    PRE,
    PREA,
    RANK,
    RD,
    RDA,
    REFA,
    REFB,
    RULES,
    RULES_END,
    SCOPE,
    SPAN,
    WINDOWS,
    WINDOWS_END,
    WR,
)

REQUEST, ROW, TOUCHED, NEXT, FREE = 0, 1, 2, 3, 4
"""Columns of a slot: its request, that request's row, whether a command was sent for it, the next younger slot of
the same queue and bank, and (unrelated to the slot) the stack of free slots of its queue."""

HEAD, TAIL, HIT, MISS, BUSY, BUSY_AT, ACTIVE = 0, 1, 2, 3, 4, 5, 6
"""Columns of a lane (a queue's part for one bank): oldest and youngest slot, oldest slot that hits the open row,
oldest that does not; the list of banks with requests and each bank's place in it; request whose ACT was sent."""

WAITING, BUSY_BANKS = 0, 1
"""Columns of a queue's counts. Queue 0 has the reads, queue 1 the writes; lanes of queue 0 keep the activated requests."""


@njit(cache=True, nogil=True)
def fresh_state(shape, banks):
    """A channel with all banks closed and no history: clocks [node, class] and recent events [ring, node]."""
    clocks = np.zeros((shape[1], shape[2] + 1), dtype=np.int64)
    clocks[shape[1] - banks :, OPEN_ROW] = -1
    ring = np.full((shape[3], shape[1], shape[4] + 1), NEVER, dtype=np.int64)
    ring[:, :, 0] = 1
    return clocks, ring


@njit(cache=True, nogil=True, inline="always")
def earliest_clock(node, book, clocks, command, bank):
    """The first clock at which all timing rules allow a command, whatever the rows are."""
    kind = book[command, CLASS]
    clock = clocks[0, book[command, BUS]]
    for level in range(book[command, SCOPE] + 1):
        clock = max(clock, clocks[node[bank, level], kind])
    return clock


@njit(cache=True, nogil=True, inline="always")
def issue(node, book, clocks, ring, command, bank, row, clock):
    """Record a command: what may follow is pushed back, rows open or close."""
    clocks[0, book[command, BUS]] = clock + book[command, BUS_CYCLES]
    for k in range(book[command, RULES], book[command, RULES_END]):
        kind = book[k, 1]
        allowed = clock + book[k, 2]
        if book[k, 0] == OTHER_RANKS:
            for other in range(1, node[len(node) - 1, RANK] + 1):
                if other != node[bank, RANK]:
                    clocks[other, kind] = max(clocks[other, kind], allowed)
        else:
            n = node[bank, book[k, 0]]
            clocks[n, kind] = max(clocks[n, kind], allowed)
    for k in range(book[command, WINDOWS], book[command, WINDOWS_END]):
        r = book[k, 0]
        n = node[bank, book[k, 1]]
        if k == book[command, WINDOWS] or r != book[k - 1, 0]:
            at = ring[r, n, 0]
            ring[r, n, at] = clock
            ring[r, n, 0] = at + 1 if at < book[k, 4] else 1
        kind = book[k, 2]
        clocks[n, kind] = max(clocks[n, kind], ring[r, n, ring[r, n, 0]] + book[k, 3])
    effect = book[command, EFFECT]
    if effect != KEEP:
        span = node[bank, SPAN + book[command, SCOPE]]
        first = node[bank, BANK] - bank % span
        for b in range(first, first + span):
            clocks[b, OPEN_ROW] = row if effect == OPEN else -1


@njit(cache=True, nogil=True, inline="always")
def _sort_out(slot, lane, q, bank, open_row):
    """Find the oldest hit and the oldest other request of a bank."""
    hit = -1
    miss = -1
    s = lane[q, bank, HEAD]
    while s >= 0 and (hit < 0 or miss < 0):
        if slot[s, ROW] == open_row:
            if hit < 0:
                hit = s
        elif miss < 0:
            miss = s
        s = slot[s, NEXT]
    lane[q, bank, HIT] = hit
    lane[q, bank, MISS] = miss


@njit(cache=True, nogil=True)
def _enqueue(slot, lane, count, q, bank, row, request, open_row):
    """Put a request behind the others of its queue and bank."""
    size = len(slot) >> 1
    s = slot[q * size + count[q, WAITING], FREE]
    count[q, WAITING] += 1
    slot[s, REQUEST] = request
    slot[s, ROW] = row
    slot[s, TOUCHED] = 0
    slot[s, NEXT] = -1
    if lane[q, bank, HEAD] < 0:
        lane[q, bank, HEAD] = s
        at = count[q, BUSY_BANKS]
        lane[q, at, BUSY] = bank
        lane[q, bank, BUSY_AT] = at
        count[q, BUSY_BANKS] = at + 1
    else:
        slot[lane[q, bank, TAIL], NEXT] = s
    lane[q, bank, TAIL] = s
    if row == open_row:
        if lane[q, bank, HIT] < 0:
            lane[q, bank, HIT] = s
    elif lane[q, bank, MISS] < 0:
        lane[q, bank, MISS] = s


@njit(cache=True, nogil=True)
def _unlink(slot, lane, count, q, bank, gone, open_row):
    """Take a slot out of its queue."""
    before = -1
    s = lane[q, bank, HEAD]
    while s != gone:
        before = s
        s = slot[s, NEXT]
    after = slot[gone, NEXT]
    if before < 0:
        lane[q, bank, HEAD] = after
    else:
        slot[before, NEXT] = after
    if after < 0:
        lane[q, bank, TAIL] = before
    if before < 0 and after < 0:
        last = count[q, BUSY_BANKS] - 1
        moved = lane[q, last, BUSY]
        at = lane[q, bank, BUSY_AT]
        lane[q, at, BUSY] = moved
        lane[q, moved, BUSY_AT] = at
        count[q, BUSY_BANKS] = last
    count[q, WAITING] -= 1
    slot[q * (len(slot) >> 1) + count[q, WAITING], FREE] = gone
    _sort_out(slot, lane, q, bank, open_row)


@njit(cache=True, nogil=True, inline="always")
def _bank_clock(node, clocks, bus, kind, bank):
    """`earliest_clock` of a command on one bank, given when its bus is free and its timing class."""
    clock = max(clocks[node[bank, 0], kind], clocks[node[bank, 1], kind])
    return max(clock, clocks[node[bank, 2], kind], bus)


@njit(cache=True, nogil=True)
def _pick(node, book, clocks, slot, lane, banks, q, now, keep_hits):
    """The requests of a queue to serve next by a column and by a row command: slots, commands and clocks.

    The earliest clock wins, then the oldest request; FAR where there is none.
    """
    hit_slot, hit_at, hit_request = -1, FAR, FAR
    miss_slot, miss_command, miss_at, miss_request = -1, -1, FAR, FAR
    column_kind = book[RD + q, CLASS]
    column_bus = max(now, clocks[0, book[RD, BUS]])
    row_bus = max(now, clocks[0, book[ACT, BUS]])
    for k in range(banks):
        bank = lane[q, k, BUSY]
        hit = lane[q, bank, HIT]
        if hit >= 0:
            at = _bank_clock(node, clocks, column_bus, column_kind, bank)
            request = slot[hit, REQUEST]
            if at < hit_at or (at == hit_at and request < hit_request):
                hit_slot, hit_at, hit_request = hit, at, request
        miss = lane[q, bank, MISS]
        if miss >= 0 and lane[0, bank, ACTIVE] < 0 and (hit < 0 or keep_hits == 0):
            command = ACT if clocks[node[bank, BANK], OPEN_ROW] < 0 else PRE
            at = _bank_clock(node, clocks, row_bus, book[command, CLASS], bank)
            request = slot[miss, REQUEST]
            if at < miss_at or (at == miss_at and request < miss_request):
                miss_slot, miss_command, miss_at, miss_request = miss, command, at, request
    return hit_slot, hit_at, miss_slot, miss_command, miss_at


@njit(cache=True, nogil=True)
def _fate(slot, lane, count, bank, row, column, request, write):
    """What happens to an offered request: 0 refused, 1 queued, 2 met by a waiting write to its address."""
    s = lane[1, bank[request], HEAD]
    while s >= 0:
        other = slot[s, REQUEST]
        if row[other] == row[request] and column[other] == column[request]:
            return 2
        s = slot[s, NEXT]
    return 1 if count[1 if write[request] else 0, WAITING] < len(slot) >> 1 else 0


@njit(cache=True, nogil=True)
def _pick_active(node, book, clocks, lane, active, count, write, now):
    """The activated request to serve next: its place in the list, command and clock."""
    best, best_command, best_clock, best_request = -1, -1, FAR, FAR
    for k in range(count):
        request = lane[0, active[k], ACTIVE]
        command = WR if write[request] else RD
        bus = max(now, clocks[0, book[command, BUS]])
        clock = _bank_clock(node, clocks, bus, book[command, CLASS], active[k])
        if clock < best_clock or (clock == best_clock and request < best_request):
            best, best_command, best_clock, best_request = k, command, clock, request
    return best, best_command, best_clock


@njit(cache=True, nogil=True)
def _pick_refresh(node, book, clocks, lane, number, ranks, rule, now):
    """The next command of a refresh: its command, bank and clock (FAR while an activated request bars it)."""
    banks = len(node) // ranks
    bank = (number % ranks) * banks
    refresh, close = REFA, PREA
    if rule.refresh_per_bank:
        bank += (number // ranks) % banks
        banks = 1
        refresh, close = REFB, PRE
    command = refresh
    barred = False
    for b in range(bank, bank + banks):
        if clocks[node[b, BANK], OPEN_ROW] >= 0:
            command = close
        barred |= lane[0, b, ACTIVE] >= 0
    if command == close and barred:
        return command, bank, FAR
    return command, bank, max(now, earliest_clock(node, book, clocks, command, bank))


@njit(cache=True, nogil=True, inline="always")
def _write_mode(count, rule, mode):
    """Whether writes go first: from many waiting writes, or no read, until few are left."""
    reads, writes = count[0, WAITING], count[1, WAITING]
    if mode == 0:
        mode = 1 if writes > rule.enter_above or reads == 0 else 0
    else:
        mode = 0 if writes < rule.leave_below and reads > 0 else 1
    return mode


@njit(cache=True, nogil=True)
def run_requests(tables, rule, bank, row, column, write, arrival, log):
    """Serve requests first-ready, first-come: when each is done, and what the channel did for it.

    At most one request enters per clock, in order, once the clock has reached its arrival and its queue has room.
    Returns done clocks, clocks of the column commands (0: none needed), entry clocks, commands by kind,
    (row hits, misses, conflicts, entries of the log, last clock). `log` takes (clock, command, bank, request)
    while it has room.
    """
    node, book = tables.node, tables.book
    n, banks, ranks = len(bank), len(node), tables.shape[0]
    clocks, ring = fresh_state(tables.shape, banks)
    slot = np.empty((2 * rule.queue, 5), dtype=np.int64)
    slot[:, FREE] = np.arange(2 * rule.queue)
    lane = np.full((2, banks, 7), -1, dtype=np.int64)
    count = np.zeros((2, 2), dtype=np.int64)
    active = np.empty(banks, dtype=np.int64)
    active_count = 0
    done = np.zeros(n, dtype=np.int64)
    served = np.zeros(n, dtype=np.int64)
    entered = np.zeros(n, dtype=np.int64)
    commands = np.zeros(tables.shape[5], dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    head, clock, last, mode, logged = 0, 0, 0, 0, 0
    refreshes, refreshes_due = 0, 0
    next_refresh = rule.refresh_interval if rule.refresh_interval > 0 else FAR
    while True:
        # at the end of clock tick `clock`: one request may enter
        bound = FAR
        if head < n and arrival[head] <= clock:
            fate = _fate(slot, lane, count, bank, row, column, head, write)
            if fate > 0:
                entered[head] = clock
                target = bank[head]
                if fate == 2:
                    done[head] = clock + 1
                    last = max(last, clock + 1)
                else:
                    q = 1 if write[head] else 0
                    open_row = clocks[node[target, BANK], OPEN_ROW]
                    _enqueue(slot, lane, count, q, target, row[head], head, open_row)
                head += 1
                if head < n and (
                    arrival[head] > clock + 1
                    or _fate(slot, lane, count, bank, row, column, head, write) > 0
                ):
                    bound = max(arrival[head], clock + 1) + 1
        elif head < n:
            bound = arrival[head] + 1
        if head == n and count[0, WAITING] + count[1, WAITING] + active_count == 0:
            if clock >= last:
                break
            bound = last + 1
        now = clock + 1
        if now == next_refresh:
            refreshes_due += rule.refresh_ranks
            next_refresh += rule.refresh_interval
        bound = min(bound, next_refresh)

        # the best column and the best row command, and when the first of them can go
        column_source, row_source, row_slot, row_command, row_at = 0, 1, -1, -1, FAR
        column_slot, column_command, column_at = _pick_active(
            node, book, clocks, lane, active, active_count, write, now
        )
        if refreshes < refreshes_due:
            row_source = 2
            row_command, row_slot, row_at = _pick_refresh(
                node, book, clocks, lane, refreshes, ranks, rule, now
            )
        elif rule.dual_bus or column_at > now:
            mode = _write_mode(count, rule, mode)
            hit, hit_at, row_slot, row_command, row_at = _pick(
                node, book, clocks, slot, lane, count[mode, BUSY_BANKS], mode, now, rule.keep_hits
            )
            if rule.dual_bus == 0 and hit_at == row_at and hit >= 0:
                if slot[row_slot, REQUEST] < slot[hit, REQUEST]:
                    hit_at = FAR
            if hit_at < column_at:
                column_source, column_slot, column_command, column_at = 1, hit, RD + mode, hit_at
        now = min(column_at, row_at)
        if now >= bound:
            clock = bound - 1
            continue
        clock = now
        column_goes = column_at == now
        for turn in range(2 if rule.dual_bus else 1):
            if turn == 0 and column_goes:
                source, place, command = column_source, column_slot, column_command
            elif turn == 0 and rule.dual_bus:
                continue
            else:
                if turn == 1 and column_goes and row_source == 1:
                    mode = _write_mode(count, rule, mode)
                    hit, hit_at, row_slot, row_command, row_at = _pick(
                        node,
                        book,
                        clocks,
                        slot,
                        lane,
                        count[mode, BUSY_BANKS],
                        mode,
                        now,
                        rule.keep_hits,
                    )
                if row_at > now:
                    continue
                source, place, command = row_source, row_slot, row_command
            request = -1
            target = place
            if source == 0:
                target = active[place]
                request = lane[0, target, ACTIVE]
                lane[0, target, ACTIVE] = -1
                active_count -= 1
                active[place] = active[active_count]
            elif source == 1:
                request = slot[place, REQUEST]
                target = bank[request]
                if slot[place, TOUCHED] == 0:
                    slot[place, TOUCHED] = 1
                    totals[0 if command >= RD else (1 if command == ACT else 2)] += 1
                if command != PRE:
                    open_row = clocks[node[target, BANK], OPEN_ROW]
                    _unlink(slot, lane, count, mode, target, place, open_row)
                if command == ACT:
                    lane[0, target, ACTIVE] = request
                    active[active_count] = target
                    active_count += 1
            elif command >= REFA:
                refreshes += 1
            if command == RD or command == WR:
                served[request] = now
                done[request] = now + (rule.read_cycles if command == RD else 0)
                last = max(last, done[request])
                others = max(lane[0, target, HIT], lane[1, target, HIT], lane[0, target, ACTIVE])
                if rule.closed_page and others < 0:
                    command += RDA - RD
            opened = row[request] if request >= 0 else -1
            issue(node, book, clocks, ring, command, target, opened, now)
            commands[command] += 1
            if logged < len(log):
                log[logged, 0] = now
                log[logged, 1] = command
                log[logged, 2] = target
                log[logged, 3] = request
            logged += 1
            if book[command, EFFECT] != KEEP:
                span = node[target, SPAN + book[command, SCOPE]]
                first = target - target % span
                for b in range(first, first + span):
                    for k in range(2):
                        _sort_out(slot, lane, k, b, clocks[node[b, BANK], OPEN_ROW])
    totals[3] = logged
    totals[4] = last
    return done, served, entered, commands, totals
