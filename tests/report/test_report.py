"""Does a report say what the results say, show any string as text, and need nothing else?"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from codesign.config import CodesignError
from codesign.metrics.result import Result
from codesign.report import quantities as q
from codesign.report.answer import answer
from codesign.report.embedded import NUMBER_COLUMNS, TEXT_COLUMNS
from codesign.report.html import write_report
from codesign.report.markdown import write_markdown
from codesign.report.study import study
from codesign.report.tables import ops_csv, results_csv, results_json
from tests.report.made_by_hand import HOSTILE, hostile, make_result

VOID = {"meta", "link", "input", "br", "img", "wbr"}


class Reader(HTMLParser):
    """Text, tags and attributes of a page; scripts and styles kept apart."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif not (self.open and self.open[-1] == "style"):
            if self.tags and self.tags[-1][0] == "wbr" and self.text:
                self.text[-1] += data
            else:
                self.text.append(data)


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def data_of(reader: Reader) -> dict:
    return json.loads(reader.scripts[0])


@pytest.fixture
def written(results: list[Result], tmp_path: Path) -> Path:
    return write_report(results, tmp_path / "deep/er/r.html", title="Toys", commands=["make demo"])


def test_the_page_asks_the_network_for_nothing(written: Path) -> None:
    page = read(written)
    for tag, attributes in page.tags:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form", "audio", "video"}
        for name in ("src", "href", "srcset", "action", "data", "xlink:href", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", (tag, value)
        assert not any(name.startswith("on") for name in attributes)
    text = written.read_text()
    assert not re.search(r"@import|url\((?!#p\d)", text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) <= {"http://www.w3.org/2000/svg"}


def test_only_our_script_may_run(written: Path) -> None:
    page = read(written)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    digest = base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert len(page.scripts) == 2


def test_every_entry_of_the_contents_leads_somewhere(written: Path) -> None:
    page = read(written)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for t, a in page.tags if t == "a"}
    assert targets
    assert targets <= set(ids)


def test_the_sentences_hold_the_numbers_of_the_results(results: list[Result]) -> None:
    found = study(results)
    first, second, third = answer(found)
    by = {(r.workload, r.phase, r.arch, r.sparsity): r for r in results}
    speedups, energies = [], []
    for workload, phase in {(r.workload, r.phase) for r in results}:
        base = by[workload, phase, "dense_systolic", "dense"]
        sparse = by[workload, phase, "sat", "2:8"]
        speedups.append(base.latency_s / sparse.latency_s)
        energies.append(sparse.energy_j / base.energy_j)

    def mean(values):
        product = 1.0
        for value in values:
            product *= value
        return product ** (1 / len(values))

    assert first == (
        f"sat · 2:8 is the fastest in all 4 comparisons: {mean(speedups):.2f}× the speed of "
        f"dense_systolic · dense in the geometric mean, between {min(speedups):.2f}× and "
        f"{max(speedups):.2f}×."
    )
    used = sum(r.utilisation for r in results if (r.arch, r.sparsity) == ("sat", "2:8")) / 4
    assert f"does {used * 100:.0f} % of the multiply-accumulates" in second
    shares = [int(n) for n in re.findall(r"(\d+) %", second)[:-1]]
    assert abs(sum(shares) - 100) <= len(shares)
    assert f"{mean(energies):.2f}× the energy" in third
    per_area = mean(speedups) / (12.5 / 11.0)
    assert third.endswith(
        "1.14× its modelled area (12.5 mm² against 11.0 mm²), which makes "
        f"{per_area:.2f}× its speed per square millimetre of it."
    )


def test_a_die_that_is_known_stands_beside_the_modelled_area() -> None:
    small = make_result(arch="sat")
    large = replace(
        make_result(arch="a100"), die_mm2=826.0, area_mm2=67.5, cycles=small.cycles // 2,
        latency_s=small.latency_s / 2,
    )  # fmt: skip
    cost = answer(study([small, large]))[2]
    assert "its modelled area (67.5 mm² against" in cost
    assert "; whole die: a100 826 mm²)" in cost


def test_a_single_result_and_a_baseline_that_wins_are_said_so() -> None:
    alone = answer(study([make_result()]))
    assert "nothing to compare it with" in alone[0]
    assert "of modelled silicon" in alone[2]
    apart = answer(study([make_result(), make_result(phase="training")]))
    assert apart[0] == "Each of the 2 workloads ran once; there is nothing to compare."
    fast = replace(make_result(), latency_s=1e-6)
    assert "nothing compared with it is faster" in answer(study([fast, make_result("b")]))[0]
    two = [fast, make_result("b"), replace(make_result(phase="training"), latency_s=1e-6)]
    assert "the baseline, is the fastest in all 2 comparisons" in answer(study(two))[0]


def test_the_tables_hold_the_numbers_of_the_results(written: Path, results: list[Result]) -> None:
    text = " ".join(read(written).text)
    for r in results:
        for shown in (
            q.with_unit(r.latency_s, "s"),
            q.with_unit(r.energy_j, "J"),
            q.with_unit(r.edp_js, "Js"),
            q.area(r.area_mm2),
            q.with_unit(r.dram_bytes, "B"),
            r.trace_fingerprint,
        ):
            assert shown in text
    assert "2:8 runs dense on dense_systolic" in text
    assert "(dense_systolic · 2:8, 4 comparisons, 88 operators)" in text
    assert "dram.latency_cycles" in text
    assert "make demo" in text


def test_the_embedded_operators_are_those_of_the_results(
    written: Path, results: list[Result]
) -> None:
    data = data_of(read(written))
    assert len(data["runs"]) == len(results)
    for run, result in zip(data["runs"], study(results).results, strict=True):
        columns = dict(zip([*data["text"], *data["numbers"]], run["columns"], strict=True))
        for name in TEXT_COLUMNS:
            shown = [data["strings"][i] for i in columns[name]]
            assert shown == [getattr(op, name) or "" for op in result.ops]
        for name in NUMBER_COLUMNS:
            assert columns[name] == pytest.approx([getattr(op, name) for op in result.ops], 6e-4)
        assert columns["cycles"] == [op.cycles for op in result.ops]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_are_shown_as_text(text: str, tmp_path: Path, written: Path) -> None:
    path = write_report(
        [hostile(text), make_result()],
        tmp_path / "h.html",
        title=text,
        introduction=text,
        commands=[text],
    )
    page = read(path)
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in read(written).tags}
    assert len(page.scripts) == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert q.one_line(text, 30)[:18] in " ".join(" ".join(page.text).split())
    assert q.clean(f"0 {text}") in data_of(page)["strings"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_strings_do_not_break_the_markdown(text: str, tmp_path: Path) -> None:
    pair = [hostile(text), make_result()]
    path = write_markdown(pair, tmp_path / "r.md", title=text, introduction=text)
    content = path.read_text(encoding="utf-8")
    assert not re.search(r"<(?!!-- Generated)", content)
    tables = re.findall(r"(?m)(?:^\|.*\n)+", content)
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
        assert len(widths) == 1, table[:400]


def test_every_markdown_table_is_a_head_a_rule_and_rows(
    results: list[Result], tmp_path: Path
) -> None:
    path = write_markdown(results, tmp_path / "r.md", title="Toys", commands=["make demo"])
    tables = re.findall(r"(?m)(?:^\|.*\n)+", path.read_text(encoding="utf-8"))
    heads = [table.split("|")[1].strip().split(" of ")[0] for table in tables]
    assert set(heads) >= {"run", "slowest operators"}
    for table in tables:
        _, rule, *rows = table.splitlines()
        assert re.fullmatch(r"\|(?: ---:? \|)+", rule), table[:300]
        assert rows


def test_the_markdown_shows_figures_that_exist(results: list[Result], tmp_path: Path) -> None:
    path = write_markdown(results, tmp_path / "r.md", title="Toys", commands=["make demo"])
    content = path.read_text()
    named = re.findall(r"!\[[^\]]*\]\((figures/[\w-]+\.svg)\)", content)
    files = {str(p.relative_to(tmp_path)) for p in (tmp_path / "figures").iterdir()}
    assert sorted(named) == sorted(files)
    for r in results:
        assert q.with_unit(r.latency_s, "s") in content


def test_equal_results_give_an_equal_file(results: list[Result], tmp_path: Path) -> None:
    one = write_report(results, tmp_path / "a.html", title="t").read_bytes()
    assert write_report(results, tmp_path / "b.html", title="t").read_bytes() == one


def test_a_large_study_stays_small(tmp_path: Path) -> None:
    many = [
        make_result("sat", f"{n}:16", "training", density=n / 16, blocks=40) for n in range(1, 17)
    ]
    assert sum(len(r.ops) for r in many) > 4000
    assert write_report(many, tmp_path / "r.html", title="t").stat().st_size < 3_000_000


def test_numbers_that_are_missing_are_dashes(tmp_path: Path) -> None:
    nan = float("nan")
    measured = replace(
        make_result("gpu"),
        kind="measured",
        energy_j=nan,
        edp_js=nan,
        power_w=nan,
        area_mm2=0.0,
        area_mm2_by_part={},
        energy_j_by_part={},
        ops=(),
    )
    page = read(write_report([make_result(), measured], tmp_path / "r.html", title="t"))
    assert q.MISSING in " ".join(page.text)
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", " ".join(page.text).lower())
    json.loads(results_json([measured]), parse_constant=pytest.fail)


def test_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CodesignError):
        write_report([], tmp_path / "r.html", title="t")
    assert not (tmp_path / "r.html").exists()


def test_csv_has_a_row_for_each_result_and_operator(results: list[Result]) -> None:
    rows = list(csv.DictReader(io.StringIO(results_csv(results))))
    assert [int(row["cycles"]) for row in rows] == [r.cycles for r in results]
    assert [float(row["energy_j_by_part.dram"]) for row in rows] == [
        r.energy_j_by_part["dram"] for r in results
    ]
    ops = list(csv.DictReader(io.StringIO(ops_csv(results))))
    assert [row["name"] for row in ops] == [op.name for r in results for op in r.ops]
    assert [int(row["cycles"]) for row in ops] == [op.cycles for r in results for op in r.ops]


def test_csv_cells_are_no_formulas_and_keep_their_text() -> None:
    for text in HOSTILE:
        rows = list(csv.DictReader(io.StringIO(results_csv([hostile(text)]))))
        shown = rows[0]["workload"]
        assert shown[0] not in "=+-@\t\r"
        assert shown.removeprefix("'") == q.clean(text).removeprefix("'")


def test_json_holds_every_field(results: list[Result]) -> None:
    whole = json.loads(results_json(results))
    assert whole == [json.loads(json.dumps(r.to_dict())) for r in results]
    assert all(r["ops"] == [] for r in json.loads(results_json(results, with_ops=False)))
