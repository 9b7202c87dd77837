"""Requests that wait for a DRAM, by queue and bank: the oldest ones and what each can do next."""

from __future__ import annotations

import numpy as np
from numba import njit

from codesign.kernels.dram import ACT, BUS, CLASS, FAR, OPEN_ROW, PRE, RD, WR

READS, WRITES, ACTIVE = 0, 1, 2
"""Lists of requests: the two queues, and those whose ACT was sent (one for a bank at most), which
ranks count as ACTIVE + READS and ACTIVE + WRITES."""

KEY, ROW, TOUCHED, NEXT, BEFORE, FREE = 0, 1, 2, 3, 4, 5
"""Columns of a slot: its request's key, that request's row, whether a command was sent for it, the
next younger and the next older slot of the same queue and bank, and (unrelated to the slot) the
stack of free slots of its queue."""

HEAD, TAIL, MISS = 0, 1, 2
"""Columns of a lane (a queue's part for one bank): its oldest and its youngest slot, and the key of
its oldest request for another row than the open one."""

HIT, OPENING, CLOSING, ACTIVATED = 0, 1, 2, 3
"""Rows of keys of a queue, by bank: its oldest request for which RD or WR, ACT or PRE is the next
command, and the request that left it by its ACT."""

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


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def offer(clocks, lane, keys, queue, bank, keep_hits):
    """Say what a bank may do next for a queue, once its oldest hit and miss are known."""
    q, b = np.uintp(queue), np.uintp(bank)
    miss = lane[q, b, MISS]
    is_open = clocks[OPEN_ROW, b] >= 0
    barred = is_activated(keys, bank) or (keep_hits != 0 and keys[q, HIT, b] != NONE)
    keys[q, OPENING, b] = NONE if is_open else miss
    keys[q, CLOSING, b] = miss + CLOSES if is_open and not barred else NONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def oldest(slot, first, row, hits):
    """The key of the oldest request from a slot on for a row (`hits`), or for any other."""
    s = first
    while s >= 0 and (slot[np.uintp(s), ROW] == row) != hits:
        s = slot[np.uintp(s), NEXT]
    return NONE if s < 0 else slot[np.uintp(s), KEY]


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def sort_opened(clocks, slot, lane, keys, bank, row, keep_hits):
    """Find a bank's oldest hits and misses after a row of it was opened."""
    b = np.uintp(bank)
    for q in range(2):
        keys[q, HIT, b] = oldest(slot, lane[q, b, HEAD], row, True)
        lane[q, b, MISS] = oldest(slot, lane[q, b, HEAD], row, False)
        offer(clocks, lane, keys, q, bank, keep_hits)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def sort_closed(slot, lane, keys, bank):
    """Make every request of a bank a miss after its row was closed."""
    b = np.uintp(bank)
    for q in range(2):
        head = lane[q, b, HEAD]
        lane[q, b, MISS] = NONE if head < 0 else slot[np.uintp(head), KEY]
        keys[q, HIT, b] = NONE
        keys[q, OPENING, b] = lane[q, b, MISS]
        keys[q, CLOSING, b] = NONE


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def enqueue(clocks, slot, lane, keys, waiting, queue, bank, row, request):
    """Put a request behind the others of its queue and bank."""
    q, b = np.uintp(queue), np.uintp(bank)
    free = slot[queue * (len(slot) >> 1) + waiting[q], FREE]
    waiting[q] += 1
    s = np.uintp(free)
    key = QUEUED + (request << SLOT_BITS) + free
    tail = lane[q, b, TAIL]
    slot[s, KEY] = key
    slot[s, ROW] = row
    slot[s, TOUCHED] = 0
    slot[s, NEXT] = -1
    slot[s, BEFORE] = tail
    if tail < 0:
        lane[q, b, HEAD] = free
    else:
        slot[np.uintp(tail), NEXT] = free
    lane[q, b, TAIL] = free
    if clocks[OPEN_ROW, b] == row:
        keys[q, HIT, b] = min(keys[q, HIT, b], key)
    else:
        lane[q, b, MISS] = min(lane[q, b, MISS], key)


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def dequeue(slot, lane, waiting, queue, bank, gone):
    """Take a slot out of its queue."""
    q, b, s = np.uintp(queue), np.uintp(bank), np.uintp(gone)
    before, after = slot[s, BEFORE], slot[s, NEXT]
    if before < 0:
        lane[q, b, HEAD] = after
    else:
        slot[np.uintp(before), NEXT] = after
    if after < 0:
        lane[q, b, TAIL] = before
    else:
        slot[np.uintp(after), BEFORE] = before
    waiting[q] -= 1
    slot[queue * (len(slot) >> 1) + waiting[q], FREE] = gone


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def pick(shape, book, clocks, keys, in_rank, chosen, now):
    """The activated requests' and a list's next column command, and that list's next row command.

    Both are keys, NONE or more where there is none. The earliest clock wins, then an activated
    request, then the oldest.
    """
    q, buses = np.uintp(chosen), clocks.shape[1] - 1
    hit_kind = np.uintp(book[WR if chosen == WRITES else RD, CLASS])
    read_kind, write_kind = np.uintp(book[RD, CLASS]), np.uintp(book[WR, CLASS])
    act_kind, pre_kind = np.uintp(book[ACT, CLASS]), np.uintp(book[PRE, CLASS])
    column_free = max(now, clocks[book[RD, BUS], buses])
    row_free = max(now, clocks[book[ACT, BUS], buses])
    column, row = NONE, NONE
    for rank in range(shape[0]):
        writes = in_rank[ACTIVE + WRITES, rank]
        if in_rank[q, rank] + in_rank[ACTIVE + READS, rank] + writes > 0:
            node = np.uintp(buses - shape[0] + rank)
            hit_wait = max(clocks[hit_kind, node], column_free) - now
            read_wait = max(clocks[read_kind, node], column_free) - now
            act_wait = max(clocks[act_kind, node], row_free) - now
            pre_wait = max(clocks[pre_kind, node], row_free) - now
            first = rank * shape[1]
            for i in range(shape[1]):
                b = np.uintp(first + i)
                wait = max(clocks[hit_kind, b] - now, hit_wait)
                column = min(column, keys[q, np.uintp(HIT), b] + (wait << WAIT_SHIFT))
                wait = max(clocks[read_kind, b] - now, read_wait)
                key = keys[np.uintp(READS), np.uintp(ACTIVATED), b]
                column = min(column, key + (wait << WAIT_SHIFT))
                wait = max(clocks[act_kind, b] - now, act_wait)
                row = min(row, keys[q, np.uintp(OPENING), b] + (wait << WAIT_SHIFT))
                wait = max(clocks[pre_kind, b] - now, pre_wait)
                row = min(row, keys[q, np.uintp(CLOSING), b] + (wait << WAIT_SHIFT))
            if writes > 0:
                write_wait = max(clocks[write_kind, node], column_free) - now
                for i in range(shape[1]):
                    b = np.uintp(first + i)
                    wait = max(clocks[write_kind, b] - now, write_wait)
                    key = keys[np.uintp(WRITES), np.uintp(ACTIVATED), b]
                    column = min(column, key + (wait << WAIT_SHIFT))
    return column, row


@njit(cache=True, nogil=True, _nrt=False, forceinline=True)
def fate(slot, lane, waiting, bank, row, column, request, write):
    """What happens to an offered request: 0 refused, 1 queued, 2 met by a waiting write to its
    address."""
    s = lane[WRITES, np.uintp(bank[request]), HEAD]
    while s >= 0:
        other = np.uintp(number(slot[np.uintp(s), KEY]))
        if row[other] == row[request] and column[other] == column[request]:
            return 2
        s = slot[np.uintp(s), NEXT]
    return 1 if waiting[WRITES if write[request] else READS] < len(slot) >> 1 else 0
