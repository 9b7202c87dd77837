"""Memory requests and command programs on a DRAM: when each is done, and by which commands."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codesign.config import CodesignError
from codesign.kernels.dram import Controller, deal, run_commands, run_in_order
from codesign.kernels.dram_queue import run_requests
from codesign.memory.addresses import AddressMapping, Location
from codesign.memory.spec import DramSpec, command_ids, standard

Int64 = NDArray[np.int64]
Policy = Literal["fr_fcfs", "row_hits_first", "in_order"]
Page = Literal["open", "closed"]
Refresh = Literal["all_bank", "per_bank", "off"]

MOST_QUEUED = 4096

WRITE_HIGH, WRITE_LOW = 0.8, 0.2
"""Shares of the write queue at which writes take over and reads do again (Ramulator 2.1)."""


@dataclass(frozen=True)
class RequestTimeline:
    """What became of a list of requests; clocks count from 0, the first command can be sent at 1.

    `done` is when a read's data has arrived or a write's command was sent; `served` the clock of
    its RD or WR, 0 when a waiting write to the same address answered it; `entered` when the
    controller took it.
    """

    done: Int64
    served: Int64
    entered: Int64
    commands: Mapping[str, int]
    row_hits: int
    row_misses: int
    row_conflicts: int
    cycles: int
    log: Int64
    """[command] -> (clock, command, one channel's bank, request); empty unless it was asked for."""

    @property
    def row_hit_rate(self) -> float:
        """Share of the requests that found their row open; 0.0 without requests."""
        return self.row_hits / max(1, self.row_hits + self.row_misses + self.row_conflicts)


def simulate_requests(
    spec: DramSpec,
    addresses: ArrayLike,
    is_write: ArrayLike = False,
    arrival: ArrayLike = 0,
    *,
    mapping: str = "RoRaBaBgCoCh",
    policy: Policy = "fr_fcfs",
    page: Page = "open",
    queue: int = 32,
    refresh: Refresh | None = None,
) -> RequestTimeline:
    """Serve byte addresses, one burst each, in all channels at once.

    `arrival` is in cycles and does not fall. Each channel has a controller and queues of its own.
    """
    where = AddressMapping.parse(mapping).locate(spec.organisation, np.asarray(addresses))
    return simulate_located(
        spec, where, is_write, arrival, policy=policy, page=page, queue=queue, refresh=refresh
    )


def simulate_located(
    spec: DramSpec,
    where: Location,
    is_write: ArrayLike = False,
    arrival: ArrayLike = 0,
    *,
    policy: Policy = "fr_fcfs",
    page: Page = "open",
    queue: int = 32,
    refresh: Refresh | None = None,
    staggered: bool = False,
    log_entries: int = 0,
) -> RequestTimeline:
    """Serve requests whose place is known: what `simulate_requests` does after the address mapping.

    `log_entries` asks for up to that many commands per channel. `staggered` spreads the ranks'
    refreshes. Raises CodesignError on places outside the DRAM, an arrival that falls, or an empty
    queue.
    """
    n, shape = len(where.bank), spec.organisation
    write = np.require(np.broadcast_to(is_write, (n,)), np.bool_, ("C", "W"))
    channel, bank, row, column, at = (
        np.require(np.broadcast_to(each, (n,)), np.int64, ("C", "W"))
        for each in (where.channel, where.bank, where.row, where.column, arrival)
    )
    if not 1 <= queue <= MOST_QUEUED:
        raise CodesignError(f"requests: a queue has 1 to {MOST_QUEUED} places, not {queue}")
    sizes = (shape.channels, shape.banks, shape.rows, shape.columns)
    order, begins, outside, falls = deal(channel, bank, row, column, at, sizes)
    if outside:
        where.check(shape)
    if falls:
        raise CodesignError("requests: arrivals must not be negative or fall")
    rule = controller(spec, policy, page, queue, refresh or spec.refresh, staggered)
    clocks = np.zeros((3, n), dtype=np.int64)
    commands = np.zeros(int(spec.tables.shape[5]), dtype=np.int64)
    totals = np.zeros(5, dtype=np.int64)
    logs: list[Int64] = []
    for first, past in pairwise(begins.tolist()):
        if first == past:
            continue
        chosen = order[first:past]
        log = np.zeros((log_entries, 4), dtype=np.int64)
        if policy == "in_order":
            sent, did = run_in_order(spec.tables, rule, chosen, bank, row, write, at, clocks, log)
        else:
            sent, did = run_requests(
                spec.tables, rule, chosen, bank, row, column, write, at, clocks, log
            )
        commands += sent
        totals[:3] += did[:3]
        totals[4] = max(totals[4], did[4])
        logs.append(log[: did[3]])
    return RequestTimeline(
        clocks[0],
        clocks[1],
        clocks[2],
        dict(zip(command_ids(spec), commands.tolist(), strict=True)),
        int(totals[0]),
        int(totals[1]),
        int(totals[2]),
        int(totals[4]),
        np.concatenate(logs) if logs else np.zeros((0, 4), dtype=np.int64),
    )


def controller(
    spec: DramSpec,
    policy: Policy = "fr_fcfs",
    page: Page = "open",
    queue: int = 32,
    refresh: Refresh = "all_bank",
    staggered: bool = False,
) -> Controller:
    """The rules of a memory controller as integers."""
    timings = spec.cycles
    ranks = spec.organisation.ranks
    per_bank = refresh == "per_bank"
    if per_bank and "REFB" not in standard(spec.standard).commands:
        raise CodesignError(f"{spec.standard} has no refresh of one bank")
    interval = 0 if refresh == "off" else timings["nREFIpb" if per_bank else "nREFI"]
    buses = {command.bus for command in standard(spec.standard).commands.values()}
    return Controller(
        queue=queue,
        enter_above=math.floor(WRITE_HIGH * queue),
        leave_below=math.ceil(WRITE_LOW * queue),
        refresh_interval=interval // ranks if staggered else interval,
        refresh_ranks=1 if staggered else ranks,
        refresh_per_bank=int(per_bank),
        closed_page=int(page == "closed"),
        keep_hits=int(policy == "row_hits_first"),
        dual_bus=int("column" in buses),
        read_cycles=timings["nCL"] + timings["nBL"] + timings.get("nDQSCK", 0),
    )


def simulate_commands(
    spec: DramSpec,
    commands: ArrayLike,
    bank: ArrayLike,
    row: ArrayLike = 0,
    not_before: ArrayLike = 0,
) -> Int64:
    """Issue clocks of a command program on one channel, in order, each as early as legal.

    `commands` are names or numbers of `command_ids`; `bank` any bank in the command's scope;
    `not_before` cycles. Raises CodesignError at the first command that the open rows forbid.
    """
    ids = command_ids(spec)
    given = np.asarray(commands)
    if given.dtype.kind in "US":
        unknown = sorted(set(given.tolist()) - set(ids))
        if unknown:
            raise CodesignError(f"{spec.standard} has no command {unknown[0]}")
        given = np.array([ids[name] for name in given.tolist()], dtype=np.int64)
    shape = given.shape
    banks, rows, starts = (
        np.require(np.broadcast_to(a, shape), np.int64, ("C", "W")) for a in (bank, row, not_before)
    )
    if given.size and (
        given.min() < 0
        or given.max() >= len(ids)
        or banks.min() < 0
        or banks.max() >= spec.organisation.banks
        or rows.min() < 0
    ):
        raise CodesignError("commands: a command, bank or row that does not exist")
    clocks, legal = run_commands(
        spec.tables, np.require(given, np.int64, ("C", "W")), banks, rows, starts
    )
    if legal < len(given):
        names = list(ids)
        raise CodesignError(
            f"command {legal}, {names[given[legal]]} to bank {banks[legal]} row {rows[legal]}: "
            "the open rows forbid it"
        )
    return np.asarray(clocks, dtype=np.int64)
