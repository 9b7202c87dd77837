"""Memory requests become DRAM commands: a first-ready, first-come controller with finite queues."""

from __future__ import annotations

import numpy as np
from numba import njit

from codesign.kernels.dram import (
    ACT,
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
    earliest_clock,
    fresh_state,
    issue,
)
from codesign.kernels.dram_lanes import (
    ACTIVATED,
    ACTIVE,
    CLOSES,
    HIT,
    HOME,
    NEXT,
    NONE,
    QUEUED,
    READS,
    SLOT_BITS,
    SLOTS,
    TOUCHED,
    WRITES,
    clock_of,
    dequeue,
    empty_lanes,
    end_of,
    enqueue,
    fate,
    is_activated,
    kinds_of,
    number,
    offer,
    oldest_hit,
    pick,
    sort_closed,
    sort_opened,
)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _pick_refresh(place, book, clocks, keys, refresh_number, ranks, rule, now):
    """The next command of a refresh, bank and clock (FAR while an activated request bars it)."""
    banks = len(place) // ranks
    bank = (refresh_number % ranks) * banks
    refresh, close = REFA, PREA
    if rule.refresh_per_bank:
        bank += (refresh_number // ranks) % banks
        banks = 1
        refresh, close = REFB, PRE
    command = refresh
    barred = False
    for b in range(bank, bank + banks):
        if clocks[OPEN_ROW, b] >= 0:
            command = close
        barred |= is_activated(keys, b)
    if command == close and barred:
        return command, bank, FAR
    return command, bank, max(now, earliest_clock(place, book, clocks, command, bank))


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _rank_of(place, bank):
    """The number of a bank's rank."""
    return np.uintp(place[np.uintp(bank), 0] - len(place))


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _write_mode(waiting, rule, mode):
    """Which queue goes first: writes from many waiting writes, or no read, until few are left."""
    reads, writes = waiting[READS], waiting[WRITES]
    if mode == READS:
        mode = WRITES if writes > rule.enter_above or reads == 0 else READS
    else:
        mode = READS if writes < rule.leave_below and reads > 0 else WRITES
    return mode


@njit(cache=True, nogil=True)
def run_requests(tables, rule, chosen, bank, row, column, write, arrival, clocks_of, log):
    """Serve the chosen requests first-ready, first-come, on one channel.

    At most one request enters per clock, in order, once the clock has reached its arrival and its
    queue has room. Row 0 of `clocks_of` takes their done clocks, row 1 those of the column commands
    (0: none needed), row 2 the entry clocks; `log` takes (clock, command, bank, request) while it
    has room. Returns commands by kind and (row hits, misses, conflicts, entries of the log, last
    clock).
    """
    place, book, shape = tables.place, tables.book, tables.shape
    n, banks, ranks, keep_hits = len(chosen), len(place), shape[0], rule.keep_hits
    done, served, entered = clocks_of[0], clocks_of[1], clocks_of[2]
    clocks, ring = fresh_state(shape, banks)
    flat = clocks.reshape(-1)
    kinds = kinds_of(shape, book)
    slot, free, keys = empty_lanes(rule.queue, banks)
    waiting = np.zeros(3, dtype=np.int64)
    in_rank = np.zeros((4, ranks), dtype=np.int64)
    commands = np.zeros(shape[5], dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    head, clock, last, mode, logged, target = 0, 0, 0, READS, 0, 0
    new = chosen[0] if n else 0
    refused = False  # until a request leaves its queue, the next one finds no room
    refreshes, refreshes_due = 0, 0
    next_refresh = rule.refresh_interval if rule.refresh_interval > 0 else FAR
    while True:
        # at the end of clock tick `clock`: one request may enter
        bound = FAR
        if head < n and arrival[new] > clock:
            bound = arrival[new] + 1
        elif head < n and not refused:
            outcome = fate(slot, free, keys, waiting, bank, row, column, new, write)
            refused = outcome == 0
            if outcome > 0:
                entered[new] = clock
                target = bank[new]
                if outcome == 2:
                    done[new] = clock + 1
                    last = max(last, clock + 1)
                else:
                    q = WRITES if write[new] else READS
                    enqueue(clocks, slot, free, keys, waiting, q, target, row[new], new)
                    offer(clocks, keys, q, target, keep_hits)
                    in_rank[np.uintp(q), _rank_of(place, target)] += 1
                head += 1
                new = chosen[head] if head < n else new
                if head < n:
                    refused = fate(slot, free, keys, waiting, bank, row, column, new, write) == 0
                    if arrival[new] > clock + 1 or not refused:
                        bound = max(arrival[new], clock + 1) + 1
        if head == n and waiting[READS] + waiting[WRITES] + waiting[ACTIVE] == 0:
            if clock >= last:
                break
            bound = last + 1
        now = clock + 1
        if now == next_refresh:
            refreshes_due += rule.refresh_ranks
            next_refresh += rule.refresh_interval
        bound = min(bound, next_refresh)

        # the best column and the best row command, and when the first of them can go
        refreshing = refreshes < refreshes_due
        if refreshing:
            column_key, row_key = pick(kinds, clocks, keys, in_rank, ACTIVE, now)
            row_command, row_slot, row_at = _pick_refresh(
                place, book, clocks, keys, refreshes, ranks, rule, now
            )
        else:
            turned = _write_mode(waiting, rule, mode)
            column_key, row_key = pick(kinds, clocks, keys, in_rank, turned, now)
            # queues are looked at, and the mode with them, unless an activated request can go
            if rule.dual_bus or column_key >= QUEUED:
                mode = turned
            if rule.dual_bus == 0:
                if column_key < row_key:
                    row_key = NONE
                else:
                    column_key = NONE
            row_command = PRE if row_key & CLOSES else ACT
            row_slot, row_at = row_key & SLOTS, clock_of(row_key, now)
        column_at = clock_of(column_key, now)
        now = min(column_at, row_at)
        if now >= bound:
            clock = bound - 1
            continue
        clock = now
        column_goes = column_at == now
        for turn in range(2 if rule.dual_bus else 1):
            is_column = False
            if turn == 0 and column_goes:
                is_column = True
            elif turn == 0 and rule.dual_bus:
                continue
            else:
                if column_goes and not refreshing:
                    # a column command only puts precharges off, unless it turned the mode
                    turned = _write_mode(waiting, rule, mode)
                    late = False
                    if row_at <= now:
                        other = slot[HOME, np.uintp(row_slot)]
                        late = earliest_clock(place, book, clocks, row_command, other) > now
                        late |= other == target
                    if late or turned != mode:
                        mode = turned
                        _, row_key = pick(kinds, clocks, keys, in_rank, mode, now)
                        row_command = PRE if row_key & CLOSES else ACT
                        row_slot, row_at = row_key & SLOTS, clock_of(row_key, now)
                if row_at > now:
                    continue
            request = -1
            if is_column and column_key & QUEUED == 0:
                target = column_key & SLOTS
                q = WRITES if keys[READS, ACTIVATED, np.uintp(target)] == NONE else READS
                command = RD + q
                request = number(column_key)
                keys[np.uintp(q), ACTIVATED, np.uintp(target)] = NONE
                waiting[ACTIVE] -= 1
                in_rank[np.uintp(ACTIVE + q), _rank_of(place, target)] -= 1
                offer(clocks, keys, READS, target, keep_hits)
                offer(clocks, keys, WRITES, target, keep_hits)
            elif is_column or not refreshing:
                own = np.uintp(column_key & SLOTS if is_column else row_slot)
                command = RD + mode if is_column else row_command
                request = number(column_key if is_column else row_key)
                target = slot[HOME, own]
                met = 0 if is_column else (1 if command == ACT else 2)
                totals[met] += 1 - slot[TOUCHED, own]
                slot[TOUCHED, own] = 1
                if command != PRE:
                    dequeue(slot, free, waiting, mode, own)
                    refused = False
                    in_rank[np.uintp(mode), _rank_of(place, target)] -= 1
                    if command == ACT:
                        keys[np.uintp(mode), ACTIVATED, np.uintp(target)] = (
                            request << SLOT_BITS
                        ) + target
                        waiting[ACTIVE] += 1
                        in_rank[np.uintp(ACTIVE + mode), _rank_of(place, target)] += 1
                    else:
                        younger = slot[NEXT, own]
                        end = end_of(slot, keys, mode, target)
                        keys[np.uintp(mode), HIT, np.uintp(target)] = oldest_hit(
                            slot, end, younger, row[request]
                        )
                        offer(clocks, keys, mode, target, keep_hits)
            else:
                command, target = row_command, row_slot
                refreshes += 1 if command >= REFA else 0
            if is_column:
                served[request] = now
                done[request] = now + (rule.read_cycles if command == RD else 0)
                last = max(last, done[request])
                hits = min(keys[READS, HIT, np.uintp(target)], keys[WRITES, HIT, np.uintp(target)])
                if rule.closed_page and hits == NONE and not is_activated(keys, target):
                    command += RDA - RD
            opened = row[np.uintp(request)] if request >= 0 else -1
            issue(place, book, shape, clocks, flat, ring, command, target, opened, now)
            commands[np.uintp(command)] += 1
            if logged < len(log):
                log[logged, 0] = now
                log[logged, 1] = command
                log[logged, 2] = target
                log[logged, 3] = request
            logged += 1
            if command == ACT:
                sort_opened(clocks, slot, keys, target, opened, keep_hits)
            elif book[np.uintp(command), EFFECT] != KEEP:
                first, past = target, target + 1
                if book[command, SCOPE] == RANK:
                    first = place[target, 1]
                    past = first + shape[1]
                for b in range(first, past):
                    sort_closed(slot, keys, b)
    totals[3] = logged
    totals[4] = last
    return commands, totals
