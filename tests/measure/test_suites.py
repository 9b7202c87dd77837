"""Do reports count rows, differences and bounds as they say, and is a wrong file told its fault?"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codesign.cli import main
from codesign.config import CodesignError
from codesign.measure.oracle_file import read_records
from codesign.measure.page import SHOWN, page
from codesign.measure.scalesim_rows import SAMPLES
from codesign.measure.suite import DATA, compare, left_out, report, suites
from codesign.measure.validate_scalesim import _COLUMNS

CELLS = {
    "group": "gemm", "layer": "gemm_100x77x33", "kind": "gemm", "m": "100", "n": "77", "k": "33",
    "array_rows": "8", "array_cols": "32", "dataflow": "ws", "mode": "CALC", "sparse": "0",
    "row_wise": "0", "total_cycles": "2189", "stall_cycles": "0", "sram_ifmap_accesses": "9900",
    "sram_filter_accesses": "2541", "sram_ofmap_accesses": "38500",
}  # fmt: skip
CONV = {
    "kind": "conv", "ifmap_h": "56", "ifmap_w": "56", "filter_h": "1", "filter_w": "1",
    "channels": "64", "num_filters": "128", "stride": "2", "m": "841", "n": "128", "k": "64",
    "total_cycles": "1222", "array_rows": "128", "array_cols": "128",
    "sram_ifmap_accesses": "53824", "sram_filter_accesses": "8192",
    "sram_ofmap_accesses": "107648",
}  # fmt: skip
LAYER_WISE = {
    "sparse": "1", "nm": "2:8", "m": "128", "n": "128", "k": "256", "array_rows": "32",
    "array_cols": "32", "total_cycles": "1775", "block_size": "4",
}  # fmt: skip
ROW_WISE = {
    **LAYER_WISE, "row_wise": "1", "m": "1024", "n": "64", "k": "576", "total_cycles": "20123",
}  # fmt: skip
USER = {
    "mode": "USER",
    **{f"{operand}_sram_kib": "16" for operand in ("ifmap", "filter", "ofmap")},
    **{f"{operand}_bw_words_per_cycle": "4" for operand in ("ifmap", "filter", "ofmap")},
}


def write(path: Path, *rows: dict[str, str], columns: Sequence[str] = _COLUMNS) -> Path:
    """A file of SCALE-Sim rows that differ from CELLS in the given cells."""
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file)
        out.writerow(columns)
        out.writerows([{**CELLS, **row}.get(column, "") for column in columns] for row in rows)
    return path


def test_a_group_counts_equal_rows_the_largest_difference_and_the_mean_error() -> None:
    group = compare("cycles", [(100, 100), (90, 100), (130, 100)], within=0.2)
    assert (group.rows, group.exact_rows, group.max_abs_diff) == (3, 1, 30)
    assert group.mape == pytest.approx((0 + 0.1 + 0.3) / 3)
    assert group.passed
    assert not compare("cycles", [(100, 100), (90, 100), (130, 100)], within=0.1).passed
    assert not compare("cycles", [(101, 100)], within=0).passed
    assert compare("cycles", [(500, 100)]).passed
    assert not compare("counts", [(1, 0)], within=0.5).passed
    assert compare("counts", [(0, 0)]).mape == 0


def test_a_report_adds_up_the_groups_that_it_counts() -> None:
    first = compare("a", [(1, 1), (2, 4)], within=0.5)
    second = compare("b", [(10, 10)], within=0)
    trend = compare("trend", [(1, 100)])
    whole = report("toy", [first, second], [trend, left_out("none", 0, "")])
    assert (whole.rows, whole.exact_rows, whole.max_abs_diff, whole.passed) == (3, 2, 2, True)
    assert whole.mape == pytest.approx(0.5 / 3)
    assert [group.name for group in whole.groups] == ["a", "b", "trend"]
    missed = compare("beside", [(1, 2)], within=0)
    assert not report("toy", [first], [missed]).passed


def test_every_suite_says_what_it_compares() -> None:
    known = suites()
    assert {"scalesim", "stonne", "sat"} <= known.keys()
    assert all(len(found.about) > 20 for found in known.values())
    assert known["scalesim"].data_file == "scalesim.csv"
    assert known["sat"].data_file is None


def test_a_folder_with_data_is_found_by_option_and_by_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DATA, raising=False)
    suite = suites()["scalesim"]
    assert suite.run().rows == sum(row.stall_cycles == 0 for row in SAMPLES)
    assert "scalesim.csv" in (suite.run().skipped_reason or "")
    file = write(tmp_path / "scalesim.csv", {}, CONV, LAYER_WISE, ROW_WISE)
    for found in (suite.run(tmp_path), suite.run(file)):
        assert (found.rows, found.exact_rows, found.skipped_reason) == (4, 4, None)
    monkeypatch.setenv(DATA, str(tmp_path))
    assert suite.run().rows == 4
    assert suites()["stonne"].run().skipped_reason is not None
    monkeypatch.setenv(DATA, str(tmp_path / "gone"))
    with pytest.raises(CodesignError, match="CODESIGN_DATA: there is no folder"):
        suite.run()
    with pytest.raises(CodesignError, match=r"there is no file .*stonne\.csv"):
        suites()["stonne"].run(tmp_path)
    with pytest.raises(CodesignError, match="takes no data"):
        suites()["sat"].run(tmp_path)


BROKEN: list[tuple[dict[str, str], str]] = [
    ({"m": "many"}, "2: m: a whole number from 1 to 1048576, got 'many'"),
    ({"m": "12.5"}, "2: m: a whole number from 1 to 1048576, got '12.5'"),
    ({"m": "0"}, "2: m: a whole number from 1 to 1048576, got '0'"),
    ({"n": "-4"}, "2: n: a whole number from 1 to 1048576, got '-4'"),
    ({"k": ""}, "2: k: a whole number from 1 to 1048576, got nothing"),
    ({"k": "1e3"}, "2: k: a whole number from 1 to 1048576, got '1e3'"),
    ({"array_rows": "5000"}, "2: array_rows: a whole number from 1 to 4096, got '5000'"),
    ({"total_cycles": "nan"}, "2: total_cycles: a whole number from 0 to 9007199254740991"),
    ({"dataflow": "wz"}, "2: dataflow: one of ws, os, is, got 'wz'"),
    ({"kind": "pool"}, "2: kind: one of gemm, conv, got 'pool'"),
    ({"mode": "USERS"}, "2: mode: one of CALC, USER (did you mean 'USER'?), got 'USERS'"),
    ({"sparse": "1", "nm": "5:4"}, "2: nm: a pattern N:M with N of at least 1 and at most M"),
    ({"sparse": "1", "nm": "2-4"}, "2: nm: a pattern N:M with N of at least 1 and at most M"),
    ({"sparse": "1", "row_wise": "1", "nm": "2:4"}, "2: block_size: a whole number from 1"),
    ({**CONV, "m": "784"}, "2: m: 841, as the sizes of the convolution give, got '784'"),
    ({**CONV, "filter_h": "57"}, "2: filter_h: at most the map's 56, got '57'"),
    ({"stall_cycles": "5"}, "2: stall_cycles: 0, since memory never stalls in mode CALC, got '5'"),
    ({**USER, "ifmap_sram_kib": "x"}, "2: ifmap_sram_kib: a whole number from 1"),
    (
        {"m": "1000000", "n": "1000000", "dataflow": "os", "array_rows": "1"},
        "2: array_rows: at most 16777216 folds of the array for one layer, got '1'",
    ),
]


@pytest.mark.parametrize(("cells", "message"), BROKEN)
def test_a_wrong_cell_is_named_with_file_line_and_column(
    tmp_path: Path, cells: dict[str, str], message: str
) -> None:
    file = write(tmp_path / "rows.csv", cells)
    with pytest.raises(CodesignError) as caught:
        suites()["scalesim"].run(file)
    assert str(caught.value).startswith(f"{file}:{message}")


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    base=st.sampled_from([{}, CONV, USER, LAYER_WISE, ROW_WISE]),
    column=st.sampled_from(_COLUMNS),
    cell=st.one_of(
        st.text(max_size=6), st.integers(-3, 300).map(str), st.floats(-9, 9).map(str),
        st.sampled_from(["ws", "os", "is", "USER", "conv", "2:4", "0:0", "1:999999", "٣", "1_0"]),
    ),
)  # fmt: skip
def test_any_cell_is_simulated_or_refused(
    tmp_path: Path, base: dict[str, str], column: str, cell: str
) -> None:
    file = tmp_path / "rows.csv"
    try:
        write(file, {**base, column: cell})
    except UnicodeEncodeError:
        return
    try:
        groups = suites()["scalesim"].run(file).groups
    except CodesignError as error:
        refusal = str(error)
    else:
        refusal = f"{file}:" if groups else ""
    assert refusal.startswith(f"{file}:")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": the file is empty; its first line names the columns"),
        (b"\n\n", ": the file is empty; its first line names the columns"),
        (b"a,b\n", ": no rows below the header"),
        (b"a,c\n1,2\n", ":1: no column b"),
        (b"a,b,a\n1,2,3\n", ":1: the column 'a' comes twice"),
        (b"a,b\n1,2,3\n", ":2: 3 cells for 2 columns"),
        (b"a,b\n1,2\n\n3\n", ":4: 1 cells for 2 columns"),
        (b"a,b\n\xff,2\n", ": not UTF-8 text (invalid start byte)"),
        (b'a,b\n"1,2\n', ":2: unexpected end of data"),
    ],
)
def test_a_wrong_file_is_told_its_fault(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(content)
    with pytest.raises(CodesignError) as caught:
        read_records(file, ("a", "b"))
    assert str(caught.value) == f"{file}{message}"


def test_columns_may_come_in_any_order_and_with_others(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"\xef\xbb\xbfextra, b ,a\r\n7, 8192.0 ,\r\n")
    (record,) = read_records(file, ("a", "b"))
    assert (record.count("b"), record.optional_count("a")) == (8192, None)


def test_the_command_ends_with_1_when_a_bound_is_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = {"error": "AssertionError", "total_cycles": "", "stall_cycles": ""}
    file = write(tmp_path / "rows.csv", {}, {"total_cycles": "2190"}, failed)
    assert main(["validate", "scalesim", "--data", str(file), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    figures = {key: answer[key] for key in ("suite", "rows", "exact_rows", "max_abs_diff")}
    assert figures == {"suite": "scalesim", "rows": 2, "exact_rows": 1, "max_abs_diff": 1}
    assert answer["mape"] == pytest.approx(1 / 2190 / 2)
    assert not answer["passed"]
    assert answer["groups"][-1]["name"] == "left out: unfinished rows"
    assert main(["validate", "scalesim", "--data", str(file)]) == 1
    assert "OUTSIDE a stated bound" in capsys.readouterr().out
    assert main(["validate", "scalesim", "--data", str(write(file, {}))]) == 0
    assert "1 of 1 rows exact" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate"], "error: name a suite: "),
        (["validate", "scalsim"], "error: no suite 'scalsim'; did you mean 'scalesim'?"),
        (["validate", "scalesim", "--data", "gone.csv"], "error: --data: there is no file"),
        (["validate", "sat", "--data", "."], "error: suite sat takes no data"),
    ],
)
def test_a_wrong_command_line_ends_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(message)


def test_the_page_shows_every_group_and_section() -> None:
    groups = [compare("cycles | ws", [(3, 4)], within=0), compare("trend", [(1, 2)], note="why")]
    rows = [{"section": "first", "model": "a", "ratio": 1.5}, {"section": "second", "x": 1000}]
    text = page([("About it.", report("toy", groups[:1], groups[1:], table=rows))])
    for line in (
        "## toy",
        "About it.",
        "0 of 1 compared rows are exact; **outside a stated bound**.",
        "| cycles \\| ws | 1 | 0 | 1 | 25.00% | difference 0 (missed) |  |",
        "| trend | 1 | 0 | 1 | 50.00% |  | why |",
        "### first",
        "| a | 1.500 |",
        "### second",
        "| 1,000 |",
    ):
        assert line in text.splitlines()


def test_a_long_section_of_the_page_is_cut_and_says_so() -> None:
    rows = [{"section": "all", "row": f"name {i}"} for i in range(SHOWN + 3)]
    text = page([("", report("toy", [compare("cycles", [(3, 3)])], table=rows))])
    assert f"| name {SHOWN - 1} |" in text
    assert f"| name {SHOWN} |" not in text
    assert "... and 3 more." in text
