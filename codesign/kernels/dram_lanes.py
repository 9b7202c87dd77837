"""Requests that wait for a DRAM, by queue and bank: the oldest ones and what each can do next."""

from __future__ import annotations

import numpy as np
from numba import njit

from codesign.kernels.dram import ACT, BUS, CLASS, FAR, OPEN_ROW, PRE, RD, WR

READS, WRITES, ACTIVE = 0, 1, 2
"""Lists of requests: the two queues, and those whose ACT was sent (one for a bank at most), which
ranks count as ACTIVE + READS and ACTIVE + WRITES."""

KEY, HOME, ROW, TOUCHED, NEXT, BEFORE = 0, 1, 2, 3, 4, 5
"""Rows of slots: its request's key, that request's bank and row, whether a command was sent for it,
and the next younger and the next older slot of the same queue and bank. Behind the slots of
requests come the ends, one of each queue and bank: after the youngest and before the oldest,
without a key."""

HIT, OPENING, CLOSING, ACTIVATED, MISS = 0, 1, 2, 3, 4
"""Rows of keys of a queue, by bank: its oldest request for which RD or WR, ACT or PRE is the next
command, the request that left it by its ACT, and its oldest request for another row than the open
one."""

NONE = 1 << 62
SLOT_BITS, WAIT_SHIFT = 14, 46
CLOSES = 1 << SLOT_BITS - 1
SLOTS = CLOSES - 1
QUEUED = 1 << WAIT_SHIFT - 1
"""A key is, from the lowest bit on: a slot (of an activated request: a bank); whether the command
is a PRE; the request's number; whether it still is in its queue. The smaller key goes first:
activated requests, then the older ones. With the cycles that it still has to wait on top, the
smallest key of all is the request to serve next. NONE stands for no request."""


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def number(key):
    """The number of a key's request."""
    return (key & (QUEUED - 1)) >> SLOT_BITS


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def clock_of(key, now):
    """When the request of a key can be served."""
    return FAR if key >= NONE else now + (key >> WAIT_SHIFT)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def is_activated(keys, bank):
    """Whether a request of a bank waits for the column command that follows its ACT."""
    b = np.uintp(bank)
    return min(keys[READS, ACTIVATED, b], keys[WRITES, ACTIVATED, b]) != NONE


@njit(cache=True, nogil=True)
def empty_lanes(queue, banks):
    """Slots, free ones as stacks [queue, place], and keys of all lists, without requests."""
    ends = np.arange(2 * queue, 2 * (queue + banks))
    slot = np.zeros((6, 2 * (queue + banks)), dtype=np.int64)
    slot[KEY, ends] = NONE
    slot[NEXT, ends] = ends
    slot[BEFORE, ends] = ends
    free = np.arange(2 * queue).reshape(2, queue)
    return slot, free, np.full((3, 5, banks), NONE, dtype=np.int64)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def end_of(slot, keys, queue, bank):
    """The end of a queue's requests for a bank."""
    banks = keys.shape[2]
    return np.uintp(slot.shape[1] + (queue - 2) * banks + bank)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def offer(clocks, keys, queue, bank, keep_hits):
    """Say what a bank may do next for a queue, once its oldest hit and miss are known."""
    q, b = np.uintp(queue), np.uintp(bank)
    miss = keys[q, MISS, b]
    is_open = clocks[OPEN_ROW, b] >= 0
    barred = is_activated(keys, bank) | ((keep_hits != 0) & (keys[q, HIT, b] != NONE))
    keys[q, OPENING, b] = NONE if is_open else miss
    keys[q, CLOSING, b] = miss + CLOSES if is_open & (not barred) else NONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def oldest_hit(slot, end, first, row):
    """The key of the oldest request from a slot on for a row."""
    slot[ROW, end] = row
    s = first
    while slot[ROW, np.uintp(s)] != row:
        s = slot[NEXT, np.uintp(s)]
    return slot[KEY, np.uintp(s)]


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def sort_opened(clocks, slot, keys, bank, row, keep_hits):
    """Find a bank's oldest hits and misses after a row of it was opened."""
    b = np.uintp(bank)
    for q in range(2):
        end = end_of(slot, keys, q, bank)
        first = slot[NEXT, end]
        keys[q, HIT, b] = oldest_hit(slot, end, first, row)
        slot[ROW, end] = -1
        s = first
        while slot[ROW, np.uintp(s)] == row:
            s = slot[NEXT, np.uintp(s)]
        keys[q, MISS, b] = slot[KEY, np.uintp(s)]
        offer(clocks, keys, q, bank, keep_hits)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def sort_closed(slot, keys, bank):
    """Make every request of a bank a miss after its row was closed."""
    b = np.uintp(bank)
    for q in range(2):
        head = slot[NEXT, end_of(slot, keys, q, bank)]
        miss = slot[KEY, np.uintp(head)]
        keys[q, MISS, b] = miss
        keys[q, HIT, b] = NONE
        keys[q, OPENING, b] = miss
        keys[q, CLOSING, b] = NONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def enqueue(clocks, slot, free, keys, waiting, queue, bank, row, request):
    """Put a request behind the others of its queue and bank."""
    q, b = np.uintp(queue), np.uintp(bank)
    own = free[q, np.uintp(waiting[q])]
    waiting[q] += 1
    s, end = np.uintp(own), end_of(slot, keys, queue, bank)
    key = QUEUED + (request << SLOT_BITS) + own
    tail = slot[BEFORE, end]
    slot[KEY, s] = key
    slot[HOME, s] = bank
    slot[ROW, s] = row
    slot[TOUCHED, s] = 0
    slot[NEXT, s] = end
    slot[BEFORE, s] = tail
    slot[NEXT, np.uintp(tail)] = own
    slot[BEFORE, end] = own
    hits = clocks[OPEN_ROW, b] == row
    keys[q, HIT, b] = min(keys[q, HIT, b], key if hits else NONE)
    keys[q, MISS, b] = min(keys[q, MISS, b], NONE if hits else key)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def dequeue(slot, free, waiting, queue, gone):
    """Take a slot out of its queue."""
    q, s = np.uintp(queue), np.uintp(gone)
    before, after = slot[BEFORE, s], slot[NEXT, s]
    slot[NEXT, np.uintp(before)] = after
    slot[BEFORE, np.uintp(after)] = before
    waiting[q] -= 1
    free[q, np.uintp(waiting[q])] = gone


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def kinds_of(shape, book):
    """What `pick` asks of a DRAM: ranks, banks of a rank, the timing classes of RD, WR, ACT and
    PRE, and the command buses of columns and rows."""
    return (
        np.uintp(shape[0]), np.uintp(shape[1]),
        np.uintp(book[RD, CLASS]), np.uintp(book[WR, CLASS]),
        np.uintp(book[ACT, CLASS]), np.uintp(book[PRE, CLASS]),
        np.uintp(book[RD, BUS]), np.uintp(book[ACT, BUS]),
    )  # fmt: skip


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _column_key(keys, queue, chosen, bank):
    """The key of a bank's next RD or WR: its activated request, or a hit of the chosen queue."""
    q, b = np.uintp(queue), np.uintp(bank)
    key = keys[q, np.uintp(ACTIVATED), b]
    return min(key, keys[q, np.uintp(HIT), b]) if chosen == queue else key


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def _pick_in_rank(kinds, clocks, keys, in_rank, chosen, rank, best, now):
    """The keys that `pick` finds, `best` so far, with those of one rank."""
    ranks, banks, read, write, act, pre, column_bus, row_bus = kinds
    column, row = best
    q, buses = np.uintp(chosen), np.uintp(clocks.shape[1] - 1)
    activated_writes = in_rank[np.uintp(ACTIVE + WRITES), rank]
    if in_rank[q, rank] + in_rank[np.uintp(ACTIVE + READS), rank] + activated_writes > 0:
        column_free = max(now, clocks[column_bus, buses])
        row_free = max(now, clocks[row_bus, buses])
        node = buses - ranks + rank
        read_wait = max(clocks[read, node], column_free) - now
        act_wait = max(clocks[act, node], row_free) - now
        pre_wait = max(clocks[pre, node], row_free) - now
        first = rank * banks
        for i in range(banks):
            b = first + i
            wait = max(clocks[read, b] - now, read_wait)
            key = _column_key(keys, READS, chosen, b)
            column = min(column, key + (wait << WAIT_SHIFT))
            wait = max(clocks[act, b] - now, act_wait)
            row = min(row, keys[q, np.uintp(OPENING), b] + (wait << WAIT_SHIFT))
            wait = max(clocks[pre, b] - now, pre_wait)
            row = min(row, keys[q, np.uintp(CLOSING), b] + (wait << WAIT_SHIFT))
        if chosen == WRITES or activated_writes > 0:
            write_wait = max(clocks[write, node], column_free) - now
            for i in range(banks):
                b = first + i
                wait = max(clocks[write, b] - now, write_wait)
                key = _column_key(keys, WRITES, chosen, b)
                column = min(column, key + (wait << WAIT_SHIFT))
    return column, row


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def pick(kinds, clocks, keys, in_rank, chosen, now):
    """The activated requests' and a list's next column command, and that list's next row command.

    Both are keys, NONE or more where there is none. The earliest clock wins, then an activated
    request, then the oldest.
    """
    best = (NONE, NONE)
    # Most have one rank only, whose scan is quicker outside of the loop.
    if kinds[0] == 1:
        best = _pick_in_rank(kinds, clocks, keys, in_rank, chosen, np.uintp(0), best, now)
    else:
        for rank in range(kinds[0]):
            best = _pick_in_rank(kinds, clocks, keys, in_rank, chosen, rank, best, now)
    return best


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def fate(slot, free, keys, waiting, bank, row, column, request, write):
    """What happens to a request: 0 refused, 1 queued, 2 met by a waiting write to its address."""
    if waiting[WRITES] > 0:
        s = slot[NEXT, end_of(slot, keys, WRITES, bank[request])]
        while s < free.size:
            other = np.uintp(number(slot[KEY, np.uintp(s)]))
            if row[other] == row[request] and column[other] == column[request]:
                return 2
            s = slot[NEXT, np.uintp(s)]
    return 1 if waiting[WRITES if write[request] else READS] < free.shape[1] else 0
