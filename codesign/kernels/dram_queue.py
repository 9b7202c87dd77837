"""Memory requests become DRAM commands: a first-ready, first-come controller with finite queues."""

from __future__ import annotations

import numpy as np
from numba import njit

from codesign.kernels.dram import (
    ACT,
    BUS,
    CLASS,
    EFFECT,
    FAR,
    KEEP,
    OPEN_ROW,
    PRE,
    PREA,
    RANK,
    RD,
    RDA,
    REFA,
    REFB,
    SCOPE,
    WR,
    earliest_clock,
    fresh_state,
    issue,
)

REQUEST, ROW, TOUCHED, NEXT, FREE = 0, 1, 2, 3, 4
"""Columns of a slot: its request, that request's row, whether a command was sent for it, the next
younger slot of the same queue and bank, and (unrelated to the slot) the stack of free slots of its
queue."""

HEAD, TAIL, ACTIVE = 0, 1, 2
"""Columns of a lane (a queue's part for one bank): its oldest and its youngest slot; the request
whose ACT was sent (in lanes of queue 0). Queue 0 has the reads, queue 1 the writes."""

NONE = 1 << 62
SLOT_BITS, WAIT_SHIFT = 14, 46
SLOTS = (1 << SLOT_BITS) - 1
"""A waiting request's key is its number above its slot: the smaller key is the older request. With
the cycles that it still has to wait on top, the smallest key of all is the request to serve next.
NONE stands for no request."""


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _sort_out(clocks, slot, lane, key, q, bank, keep_hits):
    """Find the oldest request of a bank for a column command, an activate and a precharge."""
    open_row = clocks[OPEN_ROW, bank]
    hit = NONE
    miss = NONE
    s = lane[q, bank, HEAD]
    while s >= 0 and (hit == NONE or miss == NONE):
        if slot[s, ROW] == open_row:
            if hit == NONE:
                hit = (slot[s, REQUEST] << SLOT_BITS) + s
        elif miss == NONE:
            miss = (slot[s, REQUEST] << SLOT_BITS) + s
        s = slot[s, NEXT]
    barred = lane[0, bank, ACTIVE] >= 0 or (keep_hits and hit != NONE)
    key[q, 0, bank] = hit
    key[q, 1, bank] = miss if open_row < 0 else NONE
    key[q, 2, bank] = NONE if open_row < 0 or barred else miss


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _enqueue(slot, lane, waiting, q, bank, row, request):
    """Put a request behind the others of its queue and bank; its bank is to be sorted out after."""
    s = slot[q * (len(slot) >> 1) + waiting[q], FREE]
    waiting[q] += 1
    slot[s, REQUEST] = request
    slot[s, ROW] = row
    slot[s, TOUCHED] = 0
    slot[s, NEXT] = -1
    if lane[q, bank, HEAD] < 0:
        lane[q, bank, HEAD] = s
    else:
        slot[lane[q, bank, TAIL], NEXT] = s
    lane[q, bank, TAIL] = s


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _unlink(slot, lane, waiting, q, bank, gone):
    """Take a slot out of its queue; its bank is to be sorted out after."""
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
    waiting[q] -= 1
    slot[q * (len(slot) >> 1) + waiting[q], FREE] = gone


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _pick(shape, book, clocks, key, q, now):
    """The requests of a queue to serve next by RD or WR, ACT and PRE, as keys; NONE or more where
    there is none.

    The earliest clock wins, then the oldest request.
    """
    buses = clocks.shape[1] - 1
    per_rank = shape[1]
    best_column, best_act, best_pre = NONE, NONE, NONE
    column_kind, act_kind, pre_kind = book[RD + q, CLASS], book[ACT, CLASS], book[PRE, CLASS]
    column_bus = max(now, clocks[book[RD, BUS], buses])
    row_bus = max(now, clocks[book[ACT, BUS], buses])
    for rank in range(buses - shape[0], buses):
        column = max(clocks[column_kind, rank], column_bus) - now
        act = max(clocks[act_kind, rank], row_bus) - now
        pre = max(clocks[pre_kind, rank], row_bus) - now
        first = (rank - buses + shape[0]) * per_rank
        for i in range(per_rank):
            b = np.uintp(first + i)
            wait = max(clocks[np.uintp(column_kind), b] - now, column)
            best_column = min(best_column, key[np.uintp(q), np.uintp(0), b] + (wait << WAIT_SHIFT))
            wait = max(clocks[np.uintp(act_kind), b] - now, act)
            best_act = min(best_act, key[np.uintp(q), np.uintp(1), b] + (wait << WAIT_SHIFT))
            wait = max(clocks[np.uintp(pre_kind), b] - now, pre)
            best_pre = min(best_pre, key[np.uintp(q), np.uintp(2), b] + (wait << WAIT_SHIFT))
    return best_column, best_act, best_pre


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _clock_of(key, now):
    """When the request of a key can be served."""
    return FAR if key >= NONE else now + (key >> WAIT_SHIFT)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _fate(slot, lane, waiting, bank, row, column, request, write):
    """What happens to an offered request: 0 refused, 1 queued, 2 met by a waiting write to its
    address."""
    s = lane[1, bank[request], HEAD]
    while s >= 0:
        other = slot[s, REQUEST]
        if row[other] == row[request] and column[other] == column[request]:
            return 2
        s = slot[s, NEXT]
    return 1 if waiting[1 if write[request] else 0] < len(slot) >> 1 else 0


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _pick_active(place, book, clocks, lane, active, count, write, now):
    """The activated request to serve next: its place in the list, command and clock."""
    best, best_command, best_clock, best_request = -1, -1, FAR, FAR
    for k in range(count):
        request = lane[0, active[k], ACTIVE]
        command = WR if write[request] else RD
        clock = max(now, earliest_clock(place, book, clocks, command, active[k]))
        if clock < best_clock or (clock == best_clock and request < best_request):
            best, best_command, best_clock, best_request = k, command, clock, request
    return best, best_command, best_clock


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _pick_refresh(place, book, clocks, lane, number, ranks, rule, now):
    """The next command of a refresh: its command, bank and clock (FAR while an activated request
    bars it)."""
    banks = len(place) // ranks
    bank = (number % ranks) * banks
    refresh, close = REFA, PREA
    if rule.refresh_per_bank:
        bank += (number // ranks) % banks
        banks = 1
        refresh, close = REFB, PRE
    command = refresh
    barred = False
    for b in range(bank, bank + banks):
        if clocks[OPEN_ROW, b] >= 0:
            command = close
        barred |= lane[0, b, ACTIVE] >= 0
    if command == close and barred:
        return command, bank, FAR
    return command, bank, max(now, earliest_clock(place, book, clocks, command, bank))


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _write_mode(waiting, rule, mode):
    """Whether writes go first: from many waiting writes, or no read, until few are left."""
    reads, writes = waiting[0], waiting[1]
    if mode == 0:
        mode = 1 if writes > rule.enter_above or reads == 0 else 0
    else:
        mode = 0 if writes < rule.leave_below and reads > 0 else 1
    return mode


@njit(cache=True, nogil=True)
def run_requests(tables, rule, bank, row, column, write, arrival, log):
    """Serve requests first-ready, first-come: when each is done, and what the channel did for it.

    At most one request enters per clock, in order, once the clock has reached its arrival and its
    queue has room. Returns done clocks, clocks of the column commands (0: none needed), entry
    clocks, commands by kind, (row hits, misses, conflicts, entries of the log, last clock). `log`
    takes (clock, command, bank, request) while it has room.
    """
    place, book, shape = tables.place, tables.book, tables.shape
    n, banks, ranks = len(bank), len(place), shape[0]
    clocks, ring = fresh_state(shape, banks)
    slot = np.empty((2 * rule.queue, 5), dtype=np.int64)
    slot[:, FREE] = np.arange(2 * rule.queue)
    lane = np.full((2, banks, 3), -1, dtype=np.int64)
    key = np.full((2, 3, banks), NONE, dtype=np.int64)
    waiting = np.zeros(2, dtype=np.int64)
    active = np.empty(banks, dtype=np.int64)
    active_count = 0
    done = np.zeros(n, dtype=np.int64)
    served = np.zeros(n, dtype=np.int64)
    entered = np.zeros(n, dtype=np.int64)
    commands = np.zeros(shape[6], dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    head, clock, last, mode, logged = 0, 0, 0, 0, 0
    refreshes, refreshes_due = 0, 0
    next_refresh = rule.refresh_interval if rule.refresh_interval > 0 else FAR
    while True:
        # at the end of clock tick `clock`: one request may enter
        bound = FAR
        if head < n and arrival[head] <= clock:
            fate = _fate(slot, lane, waiting, bank, row, column, head, write)
            if fate > 0:
                entered[head] = clock
                target = bank[head]
                if fate == 2:
                    done[head] = clock + 1
                    last = max(last, clock + 1)
                else:
                    q = 1 if write[head] else 0
                    _enqueue(slot, lane, waiting, q, target, row[head], head)
                    _sort_out(clocks, slot, lane, key, q, target, rule.keep_hits)
                head += 1
                if head < n and (
                    arrival[head] > clock + 1
                    or _fate(slot, lane, waiting, bank, row, column, head, write) > 0
                ):
                    bound = max(arrival[head], clock + 1) + 1
        elif head < n:
            bound = arrival[head] + 1
        if head == n and waiting[0] + waiting[1] + active_count == 0:
            if clock >= last:
                break
            bound = last + 1
        now = clock + 1
        if now == next_refresh:
            refreshes_due += rule.refresh_ranks
            next_refresh += rule.refresh_interval
        bound = min(bound, next_refresh)

        # the best column and the best row command, and when the first of them can go
        column_source, row_source, row_slot, row_command = 0, 1, -1, -1
        column_slot, column_command, column_at = _pick_active(
            place, book, clocks, lane, active, active_count, write, now
        )
        row_at = FAR
        if refreshes < refreshes_due:
            row_source = 2
            row_command, row_slot, row_at = _pick_refresh(
                place, book, clocks, lane, refreshes, ranks, rule, now
            )
        elif rule.dual_bus or column_at > now:
            mode = _write_mode(waiting, rule, mode)
            hit, act, pre = _pick(shape, book, clocks, key, mode, now)
            miss = min(act, pre)
            if rule.dual_bus == 0:
                if hit < miss:
                    miss = NONE
                else:
                    hit = NONE
            row_command = ACT if miss == act else PRE
            row_slot, row_at = miss & SLOTS, _clock_of(miss, now)
            if _clock_of(hit, now) < column_at:
                column_source, column_slot, column_command = 1, hit & SLOTS, RD + mode
                column_at = _clock_of(hit, now)
        now = min(column_at, row_at)
        if now >= bound:
            clock = bound - 1
            continue
        clock = now
        column_goes = column_at == now
        for turn in range(2 if rule.dual_bus else 1):
            if turn == 0 and column_goes:
                source, chosen, command = column_source, column_slot, column_command
            elif turn == 0 and rule.dual_bus:
                continue
            else:
                if turn == 1 and column_goes and row_source == 1:
                    # the column command only puts precharges off, unless it turned the mode
                    before = mode
                    mode = _write_mode(waiting, rule, mode)
                    if mode != before or row_at <= now:
                        hit, act, pre = _pick(shape, book, clocks, key, mode, now)
                        miss = min(act, pre)
                        row_command = ACT if miss == act else PRE
                        row_slot, row_at = miss & SLOTS, _clock_of(miss, now)
                if row_at > now:
                    continue
                source, chosen, command = row_source, row_slot, row_command
            request = -1
            target = chosen
            if source == 0:
                target = active[chosen]
                request = lane[0, target, ACTIVE]
                lane[0, target, ACTIVE] = -1
                active_count -= 1
                active[chosen] = active[active_count]
            elif source == 1:
                request = slot[chosen, REQUEST]
                target = bank[request]
                if slot[chosen, TOUCHED] == 0:
                    slot[chosen, TOUCHED] = 1
                    totals[0 if command >= RD else (1 if command == ACT else 2)] += 1
                if command != PRE:
                    _unlink(slot, lane, waiting, mode, target, chosen)
                if command == ACT:
                    lane[0, target, ACTIVE] = request
                    active[active_count] = target
                    active_count += 1
            elif command >= REFA:
                refreshes += 1
            if command in (RD, WR):
                _sort_out(clocks, slot, lane, key, 0, target, rule.keep_hits)
                _sort_out(clocks, slot, lane, key, 1, target, rule.keep_hits)
                served[request] = now
                done[request] = now + (rule.read_cycles if command == RD else 0)
                last = max(last, done[request])
                others = min(key[0, 0, target], key[1, 0, target])
                if rule.closed_page and others == NONE and lane[0, target, ACTIVE] < 0:
                    command += RDA - RD
            opened = row[request] if request >= 0 else -1
            issue(place, book, shape, clocks, ring, command, target, opened, now)
            commands[command] += 1
            if logged < len(log):
                log[logged, 0] = now
                log[logged, 1] = command
                log[logged, 2] = target
                log[logged, 3] = request
            logged += 1
            if book[command, EFFECT] != KEEP:
                first, past = target, target + 1
                if book[command, SCOPE] == RANK:
                    first = place[target, 1]
                    past = first + shape[1]
                for b in range(first, past):
                    _sort_out(clocks, slot, lane, key, 0, b, rule.keep_hits)
                    _sort_out(clocks, slot, lane, key, 1, b, rule.keep_hits)
    totals[3] = logged
    totals[4] = last
    return done, served, entered, commands, totals
