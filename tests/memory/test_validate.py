"""Do the DRAM and AiM suites agree with the oracles' rows, and do they notice what differs?"""

from __future__ import annotations

import csv
import gzip

import pytest

from codesign.config import CodesignError
from codesign.measure import validate_aim, validate_dram
from codesign.measure.dram_traces import PATTERNS, requests

RAMULATOR = {
    "case": "a",
    "simulator": "Ramulator 2.1",
    "standard": "GDDR6",
    "pattern": "stream",
    "n_requests": "10000",
    "refresh": "off",
    "read_queue": "32",
    "bank_groups": "4",
    "banks_per_group": "4",
    "bursts_per_row": "64",
    "bytes_per_request": "32",
    "tCK_ps": "570",
    "cycles_total": "21750",
    "last_rd_clk": "21724",
    "n_act": "286",
    "n_prepb": "270",
    "row_hits": "9714",
    "row_misses": "142",
    "row_conflicts": "144",
    "avg_read_latency_cycles": "96.2295",
}
RAMULATOR |= dict(
    pair.split(":")
    for pair in [
        "nBL:2",
        "nCL:24",
        "nCWL:6",
        "nRCDRD:30",
        "nRCDWR:20",
        "nRP:30",
        "nRAS:60",
        "nRC:90",
        "nWR:30",
        "nRTPL:4",
        "nCCDS:2",
        "nCCDL:4",
        "nRRDS:11",
        "nRRDL:11",
        "nWTRS:9",
        "nWTRL:11",
        "nFAW:43",
        "nPPD:2",
        "nREFI:3333",
        "nRFC:211",
    ]
)
"""A run of CMU-SAFARI/ramulator2 @c5b1c3a."""

DRAMSIM = {
    "case": "b",
    "simulator": "DRAMsim3",
    "standard": "DDR4",
    "pattern": "stream_1bank",
    "n_requests": "1000",
    "refresh": "on",
    "ranks": "2",
    "bank_groups": "4",
    "banks_per_group": "4",
    "bursts_per_row": "128",
    "bytes_per_request": "64",
    "tCK_ps": "830",
    "cycles_total": "6749",
    "n_act": "9",
    "n_rd": "1000",
    "energy_act_mw_cycles": "37411.2",
    "energy_read_mw_cycles": "3532800.0",
    "other_parameters": "devices=8;VDD=1.2;IDD0=48;IDD2N=34;IDD3N=43;IDD4W=123;IDD4R=135;"
    "IDD5AB=250",
}
DRAMSIM |= dict(
    pair.split(":")
    for pair in [
        "nBL:4",
        "nCL:17",
        "nCWL:12",
        "nRCDRD:17",
        "nRCDWR:17",
        "nRP:17",
        "nRAS:39",
        "nRC:56",
        "nWR:18",
        "nRTPL:9",
        "nCCDS:4",
        "nCCDL:6",
        "nRRDS:4",
        "nRRDL:6",
        "nWTRS:3",
        "nWTRL:9",
        "nFAW:26",
        "nCS:1",
        "nREFI:9360",
        "nRFC:420",
    ]
)
"""A run of umd-memsys/DRAMsim3 @2981759."""


def write(folder, name, *rows):
    columns = list(dict.fromkeys([*(c for row in rows for c in row), *validate_dram._COLUMNS]))
    path = folder / name
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_sample_rows_are_equal_without_data():
    for suite in (validate_dram, validate_aim):
        report = suite.run(None)
        assert report.passed
        assert report.exact_rows == report.rows > 0
        assert report.skipped_reason


def test_rows_of_both_simulators_pass(tmp_path):
    report = validate_dram.run(write(tmp_path, "dram.csv", RAMULATOR, DRAMSIM))
    assert report.passed
    assert (report.rows, report.exact_rows, report.max_abs_diff) == (1, 1, 0)
    names = {group.name: group for group in report.groups}
    assert names["Ramulator 2.1 mean read latency"].exact_rows == 1
    assert names["DRAMsim3 energy from its counts"].rows == 2
    assert names["DRAMsim3 cycles"].passed
    only = validate_dram.run(write(tmp_path, "dram.csv", DRAMSIM))
    assert only.passed


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (RAMULATOR, "cycles_total", "21751"),
        (RAMULATOR, "n_prepb", "271"),
        (RAMULATOR, "row_hits", "9715"),
        (RAMULATOR, "last_rd_clk", "21725"),
        (RAMULATOR, "avg_read_latency_cycles", "96.2298"),
        (DRAMSIM, "cycles_total", "7150"),
        (DRAMSIM, "energy_act_mw_cycles", "37411.3"),
    ],
)
def test_a_difference_fails(tmp_path, row, column, value):
    assert not validate_dram.run(write(tmp_path, "dram.csv", {**row, column: value})).passed


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("pattern", "strem", "did you mean 'stream'"),
        ("standard", "DDR9", "one of DDR4"),
        ("nRP", "-3", "nRP: a whole number"),
        ("nCL", "99999", "more than the 65535"),
        ("bank_groups", "0", "bank_groups"),
        ("simulator", "gem5", "one of Ramulator"),
    ],
)
def test_faults_name_the_cell(tmp_path, column, value, message):
    with pytest.raises(CodesignError, match=message):
        validate_dram.run(write(tmp_path, "dram.csv", {**RAMULATOR, column: value}))


def test_logged_commands_are_compared_one_by_one(tmp_path):
    head = "clk,command,Channel,BankGroup,Bank,Row,Column"
    lines = ["1,ACT,0,0,0,0,0", "12,ACT,0,1,0,0,0", "31,RD,0,0,0,0,0", "42,RD,0,1,0,0,0"]
    row = {**RAMULATOR, "n_requests": "2", "cmdlog": "log.csv.gz", "cycles_total": "68"}
    row = {k: v for k, v in row.items() if k.startswith("n") or k in validate_dram._COLUMNS}
    row = {k: v for k, v in row.items() if not k.startswith("n_") or k == "n_requests"}
    row["cmdlog"] = "log.csv.gz"
    (tmp_path / "dram_traces").mkdir()
    for edit, equal in ((0, 4), (1, 3), (2, 3)):
        text = list(lines)
        if edit == 1:
            text[2] = "31,RD,0,0,1,0,0"
        elif edit == 2:
            text.pop()
        with gzip.open(tmp_path / "dram_traces" / "log.csv.gz", "wt") as file:
            file.write("\n".join([head, *text]) + "\n")
        report = validate_dram.run(write(tmp_path, "dram.csv", row))
        group = next(g for g in report.groups if "logged" in g.name)
        assert group.exact_rows == equal
        assert report.passed == (edit == 0)


def test_aim_rows(tmp_path):
    row = dict.fromkeys(validate_aim._COLUMNS, "") | {
        "case": "g",
        "kernel": "gemv",
        "m_outputs": "768",
        "k_inputs": "768",
        "channels": "32",
        "cycles_total": "604",
        "ch_n_tmod": "5",
    }
    other = row | {
        "kernel": "mac_sbk_newrow",
        "repeats": "2",
        "columns_per_instruction": "64",
        "cycles_total": "411",
        "ch_n_tmod": "",
    }
    path = tmp_path / "pim_aim.csv"

    def run(*rows):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(rows)
        return validate_aim.run(path)

    assert run(row, other).exact_rows == 2
    assert not run(row | {"cycles_total": "605"}).passed
    assert not run(row | {"ch_n_tmod": "6"}).passed
    with pytest.raises(CodesignError, match="kernel"):
        run(row | {"kernel": "gemm"})


def test_patterns_by_hand():
    trace = requests("random_w25", 8, 4, 4, 32)
    x = 12345
    for i in range(8):
        x = (1664525 * x + 1013904223) % 2**32
        assert trace.where.bank[i] == (x >> 30) * 4 + ((x >> 28) & 3)
        assert trace.where.row[i] == (x >> 18) & 1023
        assert trace.where.column[i] == (x >> 10) % 32
        assert trace.write[i] == (i % 4 == 3)
    assert requests("random", 100, 1, 16, 128).where.bank.max() == 15
    assert requests("pingpong_2rows", 4, 4, 4, 8).where.row.tolist() == [0, 1, 0, 1]
    assert requests("stream_1bg", 6, 4, 4, 8).where.bank.tolist() == [0, 1, 2, 3, 0, 1]
    assert requests("stream_rw", 130, 4, 4, 8).write.sum() == 64
    assert all(len(requests(name, 3, 4, 4, 8).write) == 3 for name in PATTERNS)
    with pytest.raises(CodesignError, match="no request pattern"):
        requests("zigzag", 1, 4, 4, 8)
