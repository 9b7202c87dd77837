"""Do DRAM commands go at the very clock that all rules, checked on all history, first allow?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.config import CodesignError
from codesign.memory import (
    Device,
    Location,
    Verdict,
    command_ids,
    dram,
    presets,
    rules,
    simulate_commands,
    simulate_located,
)
from codesign.memory.expression import cycles_of
from codesign.memory.requests import controller
from codesign.memory.spec import standard, tables_of
from tests.reference import dram_twin as twin

STREAMS = 100
REQUEST_LISTS = 24


def channel_of(spec):
    """The twin's channel: plain rules, commands and sizes."""
    shape = spec.organisation
    return twin.Channel(
        [twin.Rule(r.level, r.after, r.before, r.gap_cycles, r.window) for r in rules(spec)],
        {
            name: twin.Command(
                c.scope, c.needs, c.effect, c.bus, cycles_of(str(c.bus_cycles), spec.cycles)
            )
            for name, c in standard(spec.standard).commands.items()
        },
        shape.ranks,
        shape.bank_groups,
        shape.banks_per_group,
    )


def with_ranks(spec, ranks):
    return spec.model_copy(
        update={"organisation": spec.organisation.model_copy(update={"ranks": ranks})}
    )


def random_program(spec, rng):
    """Legal commands; few banks and rows, so that rules meet; at times a pause."""
    channel = channel_of(spec)
    names = [*channel.commands, "ACT", "RD", "WR", "PRE", "ACT"]
    banks = rng.permutation(spec.organisation.banks)[: rng.integers(1, 6)].tolist()
    program, pause = [], 0
    for _ in range(int(rng.integers(5, 28))):
        for _ in range(60):
            name, bank = str(rng.choice(names)), int(rng.choice(banks))
            row = int(rng.integers(3))
            if channel.commands[name].needs == "open":
                row = channel.rows.get(bank, row)
            if channel.state_allows(name, bank, row):
                break
        else:
            break
        program.append((name, bank, row, pause))
        for b in channel.in_scope(name, bank):
            if channel.commands[name].effect == "open":
                channel.rows[b] = row
            elif channel.commands[name].effect == "close":
                channel.rows.pop(b, None)
        if rng.random() < 0.1:
            pause += int(rng.integers(200))
    return program


@pytest.mark.parametrize("preset", presets())
def test_random_command_streams_equal_the_twin(preset):
    rng = np.random.default_rng(7)
    for _ in range(STREAMS):
        spec = with_ranks(dram(preset), int(rng.integers(1, 3)))
        program = random_program(spec, rng)
        names, banks, rows, starts = (list(column) for column in zip(*program, strict=True))
        ours = simulate_commands(spec, names, banks, rows, starts)
        assert ours.tolist() == twin.run_program(channel_of(spec), program), program


def random_requests(spec, rng, n):
    shape = spec.organisation
    banks = int(rng.choice([1, 2, shape.banks]))
    rows, columns = int(rng.choice([1, 2, 40])), int(rng.choice([2, shape.columns]))
    writes = float(rng.choice([0.0, 0.3, 0.9]))
    spread = int(rng.choice([0, 3, 25]))
    arrival = np.cumsum(rng.integers(0, spread + 1, n))
    return [
        twin.Request(
            int(rng.integers(banks)),
            int(rng.integers(rows)),
            int(rng.integers(columns)),
            bool(rng.random() < writes),
            int(arrival[i]),
        )
        for i in range(n)
    ]


def with_other_timings(spec, rng):
    """Distances that no data sheet has, so that rules meet in every order."""
    timings = {
        name: timing.model_copy(update={"cycles": int(rng.integers(1, 2 + timing.cycles))})
        for name, timing in spec.timings.items()
    }
    return spec.model_copy(update={"timings": timings})


def refreshed_often(spec, rng):
    """So that short runs meet several refreshes."""
    often = {
        "nREFI": spec.cycles["nRFC"] + int(rng.integers(100, 400)),
        "nREFIpb": spec.cycles.get("nRFCpb", 0) + int(rng.integers(10, 200)),
    }
    timings = {
        name: timing.model_copy(update={"cycles": often.get(name, timing.cycles)})
        for name, timing in spec.timings.items()
    }
    return spec.model_copy(update={"timings": timings})


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("policy", ["fr_fcfs", "row_hits_first", "in_order"])
def test_random_requests_equal_the_twin(preset, policy):
    rng = np.random.default_rng(11)
    has_refb = "REFB" in standard(dram(preset).standard).commands
    for k in range(REQUEST_LISTS // 2 if policy == "row_hits_first" else REQUEST_LISTS):
        spec = with_ranks(dram(preset), int(rng.integers(1, 3)))
        refresh = ["off", "all_bank", "per_bank" if has_refb else "all_bank"][k % 3]
        page = ["open", "closed"][int(rng.integers(2))]
        queue = int(rng.choice([1, 3, 8]))
        if k % 2:
            spec = with_other_timings(spec, rng)
        spec = refreshed_often(spec, rng)
        requests = random_requests(spec, rng, int(rng.integers(1, 30)))
        rule = controller(spec, policy, page, queue, refresh)
        setup = twin.Setup(
            queue,
            rule.refresh_interval,
            refresh == "per_bank",
            page == "closed",
            policy == "row_hits_first",
            bool(rule.dual_bus),
            rule.read_cycles,
        )
        channel = channel_of(spec)
        if policy == "in_order":
            theirs = twin.run_in_order(channel, setup, requests)
        else:
            theirs = twin.Controller(channel, setup, requests).run()
        bank, row, column, write, arrival = (np.array(c) for c in zip(*requests, strict=True))
        ours = simulate_located(
            spec,
            Location(0 * bank, bank, row, column),
            write,
            arrival,
            policy=policy,
            page=page,
            queue=queue,
            refresh=refresh,
            log_entries=5000,
        )
        ids = command_ids(spec)
        log = [(clock, ids[name], b) for clock, name, b, _ in theirs.log]
        assert [tuple(entry[:3]) for entry in ours.log.tolist()] == log
        assert ours.done.tolist() == theirs.done
        assert ours.served.tolist() == theirs.served
        assert ours.entered.tolist() == theirs.entered
        classes = [ours.row_hits, ours.row_misses, ours.row_conflicts]
        assert classes == list(theirs.classes.values())
        assert sum(ours.commands.values()) == len(log)
        assert ours.cycles == max(theirs.done)


GATES = [(name, i) for name in presets() for i in range(len(rules(dram(name))))]


def gate_banks(spec, level):
    """Two banks that a rule of this level ties together, and one that it leaves alone, if any."""
    shape = spec.organisation
    per_rank = shape.bank_groups * shape.banks_per_group
    other_group = shape.banks_per_group if shape.bank_groups > 1 else 1
    if level == "bank":
        return 1, 1, 2
    if level == "bank_group":
        return 1, 2, other_group
    if level == "rank":
        return 0, other_group, per_rank
    return 0, per_rank, 1


@pytest.mark.parametrize(("preset", "index"), GATES)
def test_a_rule_alone_holds_to_the_cycle(preset, index):
    spec = with_ranks(dram(preset), 2)
    rule = rules(spec)[index]
    table, ids = standard(spec.standard), command_ids(spec)
    tables = tables_of(spec.organisation, table, (rule,), ids, spec.cycles)
    first, second, elsewhere = gate_banks(spec, rule.level)
    for after in rule.after:
        for before in rule.before:
            device = Device(spec, tables)
            held = cycles_of(str(table.commands[after].bus_cycles), spec.cycles)
            same_bus = table.commands[after].bus == table.commands[before].bus
            sent = [1000 + held * k for k in range(rule.window)]
            for clock in sent:
                put_rows(device, table.commands[after].needs)
                device.issue(after, first, 0, clock)
            put_rows(device, table.commands[before].needs)
            free = sent[-1] + held if same_bus else 0
            opens = max(sent[0] + rule.gap_cycles, free)
            assert device.earliest(before, second) == opens
            assert device.probe(before, second, 0, opens - 1) is (
                Verdict.TOO_EARLY if opens else Verdict.OK
            )
            assert device.probe(before, second, 0, opens) is Verdict.OK
            with pytest.raises(CodesignError, match="too early"):
                device.issue(before, second, 0, opens - 1)
            assert device.earliest(before, elsewhere) == free
            device.issue(before, second, 0, opens)


def put_rows(device, needs):
    """All rows open or closed, without a command."""
    device._clocks[0, : len(device.tables.place)] = 0 if needs == "open" else -1


@pytest.mark.parametrize("preset", presets())
def test_every_rule_is_in_the_tables(preset):
    """With all rules at once no command goes before any one of them allows it."""
    spec = dram(preset)
    for rule in rules(spec):
        if rule.level == "other_ranks" or rule.window > 1:
            continue
        first, second, _ = gate_banks(spec, rule.level)
        for after in rule.after:
            for before in rule.before:
                device = Device(spec)
                put_rows(device, standard(spec.standard).commands[after].needs)
                device.issue(after, first, 0, 1000)
                assert device.earliest(before, second) >= 1000 + rule.gap_cycles


def test_wrong_state_is_told_from_too_early():
    device = Device(dram("ddr4_2400"))
    assert device.probe("RD", 0, 5, 10) is Verdict.WRONG_STATE
    device.issue("ACT", 0, 5, 10)
    assert device.probe("RD", 0, 5, 25) is Verdict.TOO_EARLY
    assert device.probe("RD", 0, 5, 26) is Verdict.OK
    assert device.probe("RD", 0, 6, 26) is Verdict.WRONG_STATE
    assert device.probe("REFA", 3, 0, 500) is Verdict.WRONG_STATE
    with pytest.raises(CodesignError, match="wrong state"):
        device.issue("ACT", 0, 6, 500)


def test_a_program_that_the_rows_forbid_names_its_command():
    with pytest.raises(CodesignError, match="command 1, RD to bank 0 row 2"):
        simulate_commands(dram("ddr4_2400"), ["ACT", "RD"], 0, [1, 2])
    with pytest.raises(CodesignError, match="no command MAC16"):
        simulate_commands(dram("ddr4_2400"), ["MAC16"], 0)
    with pytest.raises(CodesignError, match="does not exist"):
        simulate_commands(dram("ddr4_2400"), ["ACT"], 16)


def test_data_sheet_distances_of_ddr4():
    """JESD79-4 2400R by hand: RCD 16, CCD_L 6, RTP 9, RP 16, FAW 26, write to read 12 + 4 + 9."""
    spec = dram("ddr4_2400")
    program = ["ACT", "RD", "RD", "PRE", "ACT"]
    assert simulate_commands(spec, program, 0, 3).tolist() == [0, 16, 22, 39, 55]
    acts = simulate_commands(spec, ["ACT"] * 5, [0, 4, 8, 12, 1], 0)
    assert acts.tolist() == [0, 4, 8, 12, 26]
    turn = simulate_commands(spec, ["ACT", "WR", "RD"], 0, 0)
    assert turn.tolist() == [0, 16, 16 + 12 + 4 + 9]


def test_the_write_mode_is_not_looked_at_while_an_activated_request_goes():
    """No read waits at clock 17, when the first RD goes; at 18 one does, ahead of the write."""
    spec = dram("ddr4_2400", {"timings.nRRDS.cycles": 15})
    bank = np.array([0, 4, 8, 12])
    where = Location(0 * bank, bank, 0 * bank, 0 * bank)
    write = np.array([False, False, True, False])
    run = simulate_located(spec, where, write, [0, 1, 2, 17], queue=5, refresh="off")
    assert run.served.tolist()[:2] == [17, 32]
    assert run.served[3] == 31 + 16 < run.served[2]
