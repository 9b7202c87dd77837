"""Do the printed tables fit 80 columns, agree with the result, and show user text as text?"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from codesign.config import CodesignError
from tests.cli.made_results import op_result, run_result

OPS = [
    op_result("stem", bound_by="memory"),
    *(
        op_result(f"layers.{i}.{part}", cycles=cycles, kind=kind)
        for i in range(12)
        for part, cycles, kind in (("attention", 3000, "attention"), ("mlp", 5000, "gemm"))
    ),
    op_result("head", cycles=0, kind="softmax", macs=0, utilisation=0.0),
]
RUN = ("simulate", "gemm:8,8,8", "--arch", "dense_systolic")
COMPARE = ("compare", *RUN[1:], "--sparsity", "dense", "--sparsity", "2:4")


@pytest.fixture
def fake(evaluated):
    """A simulator whose results depend on the machine and the pattern alone."""

    def evaluate(trace, machine, *, fidelity, seed=0, progress=None, chooser=None):
        if progress is not None:
            progress("op", 1, 1)
        sparsity = str(trace.meta.get("sparsity", "dense"))
        scale = 1 if sparsity == "dense" else 2
        ops = [replace(op, cycles=op.cycles // scale) for op in OPS]
        name = f"{machine.spec.name}{machine.spec.array.rows}"
        return run_result(
            ops, workload=trace.name, arch=name, sparsity=sparsity, fidelity=fidelity, seed=seed
        )

    evaluated(evaluate)


def test_the_tables_fit_a_narrow_terminal(codesign, fake) -> None:
    for arguments in (
        RUN,
        (*RUN, "--per-op", "--assumptions"),
        ("compare", *RUN[1:], "--sparsity", "2:4"),
    ):
        out = codesign(*arguments).out
        assert max(map(len, out.splitlines())) <= 80
        assert all(line == line.rstrip() for line in out.splitlines())
        assert "\x1b" not in out


def row(out: str, label: str) -> list[str]:
    return next(line.split() for line in out.splitlines() if line.startswith(label))


def test_rows_add_up_to_the_total(codesign, fake) -> None:
    out = codesign(*RUN).out
    assert " ".join(row(out, "layer ")) == "layer ops cycles µs % % bound by nJ kB"
    assert row(out, "stem ")[:5] == ["stem", "1", "1,000", "5.0", "1"]
    assert row(out, "layers.0-11.attention ")[:3] == ["layers.0-11.attention", "12", "36,000"]
    assert row(out, "layers.0-11.mlp ")[:3] == ["layers.0-11.mlp", "12", "60,000"]
    assert row(out, "total ")[:5] == ["total", "26", "97,000", "485.0", "100"]
    assert "memory" in row(out, "stem ")
    assert row(out, "layers.0-11.mlp ")[4:] == ["62", "50", "compute", "12.0", "36.0"]


def test_the_total_block_states_every_quantity(codesign, fake) -> None:
    out = codesign(*RUN).out
    for text in (
        "485.0 µs  97,000 cycles",
        "26.00 nJ  dram 60 %, mac 40 %",
        "53.61 µW  average",
        "2.00×  the roofline's cycles",
        "100.0 kMAC in the dense model",
        "dense; 1 MAC = 2 OP",
        "12.5 mm²  mac 80 %, buffer 20 %",
        "1  values; --assumptions lists them",
        "classifier is kept dense",
    ):
        assert text in out, text
    assert "no datasheet" not in out
    assert "no datasheet" in codesign(*RUN, "--assumptions").out


def test_every_operator_has_a_row_when_asked(codesign, fake) -> None:
    out = codesign(*RUN, "--per-op").out
    assert all(any(line.startswith(op.name) for line in out.splitlines()) for op in OPS)


def test_training_is_also_told_by_phase(codesign, evaluated) -> None:
    ops = [op_result("a"), op_result("b", phase="backward_data"), op_result("c", phase="update")]
    evaluated(lambda trace, machine, **_: run_result(ops, phase="training"))
    out = codesign(*RUN).out
    assert [row(out, phase)[0] for phase in ("forward", "backward_data", "update")]
    assert "phase " not in codesign("workload", "show", "gemm:8,8,8").out.splitlines()[1]


def test_json_is_the_result_field_for_field(codesign, fake) -> None:
    ran = codesign(*RUN, "--json", "--seed", "7", "--fidelity", "tile")
    content = json.loads(ran.out)
    assert ran.err == ""
    wanted = (
        "workload arch phase sparsity fidelity cycles latency_s energy_j area_mm2 power_w macs "
        "effective_macs utilisation dram_bytes ops"
    )
    assert set(wanted.split()) <= content.keys()
    assert (content["cycles"], content["seed"], content["fidelity"]) == (97_000, 7, "tile")
    assert [op["name"] for op in content["ops"]] == [op.name for op in OPS]


def test_numbers_that_are_not_finite_are_null(codesign, evaluated) -> None:
    evaluated(lambda *_, **__: run_result(OPS, utilisation=float("nan")))
    assert json.loads(codesign(*RUN, "--json").out)["utilisation"] is None


def test_user_text_is_no_markup(codesign, evaluated) -> None:
    names = ["[red]x[/red]", "[/]", ":smile:", "x" * 300, "naïve", "a\tb"]
    evaluated(lambda *_, **__: run_result([op_result(n) for n in names], notes=("[bold]n[/bold]",)))
    out = codesign(*RUN, "--per-op").out
    assert "[red]x[/red]" in out
    assert ":smile:" in out
    assert "[bold]n[/bold]" in out
    assert out.replace("\n", "").count("x") > 300


COMPARE = (
    "compare",
    "gemm:8,8,8",
    "--arch",
    "dense_systolic",
    "--sparsity",
    "dense",
    "--sparsity",
    "2:4",
)


def test_a_comparison_names_the_winner_of_each_metric(codesign, fake) -> None:
    out = codesign(*COMPARE).out
    assert "2.00×*" in row(out, "dense_systolic32 · 2:4")
    assert row(out, "least latency")[:4] == ["least", "latency", "242", "µs"]
    assert row(out, "least area") == ["least", "area", "no", "difference"]
    assert sum("compute 99 %, memory 1 %" in line for line in out.splitlines()) == 2


def test_ratios_are_to_the_baseline(codesign, fake) -> None:
    content = json.loads(codesign(*COMPARE, "--json").out)
    assert content["baseline"] == "dense_systolic32 · dense"
    assert [r["speedup_over_baseline"] for r in content["ratios"]] == [1.0, 2.0]
    assert [r["latency_s"] for r in content["ratios"]] == [1.0, 0.5]
    assert content["winners"]["latency_s"] == ["dense_systolic32 · 2:4"]
    assert content["winners"]["area_mm2"] == []
    assert [r["cycles"] for r in content["results"]] == [97_000, 48_500]
    for named in ("dense_systolic,2:4", "dense_systolic"):
        content = json.loads(codesign(*COMPARE, "--json", "--baseline", named).out)
        sparse = named.endswith("2:4")
        assert content["baseline"] == f"dense_systolic32 · {'2:4' if sparse else 'dense'}"
        assert content["ratios"][0]["speedup_over_baseline"] == (0.5 if sparse else 1.0)


def test_a_report_is_left_in_the_folder(codesign, tmp_path) -> None:
    ran = codesign(*COMPARE, "-o", str(tmp_path / "new" / "run"), "--json")
    assert ran.code == 0
    assert isinstance(json.loads(ran.out), dict)
    assert ran.err == f"report: {tmp_path / 'new' / 'run' / 'index.html'}\n"
    page = (tmp_path / "new" / "run" / "index.html").read_text(encoding="utf-8")
    assert "dense_systolic" in page
    assert len(json.loads((tmp_path / "new" / "run" / "results.json").read_text())) == 2
    assert codesign(*COMPARE, "-o", str(tmp_path / "other"), "--quiet").err == ""


def test_a_design_that_cannot_run_is_bad_input(codesign, evaluated) -> None:
    def refuse(*_, **__):
        raise CodesignError("dense_systolic cannot run gemm (gemm)")

    evaluated(refuse)
    assert codesign(*RUN).code == 2


def test_headings_name_a_type_that_is_not_the_default_and_sizes_that_were_given(codesign) -> None:
    small = ("gemm:8,8,8", "--arch", "rtx4090")
    assert codesign("simulate", *small).out.startswith("gemm:8,8,8 · inference, batch 1 · dense\n")
    narrow = codesign("simulate", *small, "--dtype", "fp8").out
    assert narrow.startswith("gemm:8,8,8 · inference, batch 1, fp8 · dense\n")
    out = codesign("compare", *small, "--batch", "2", "--dtype", "int8").out
    assert out.startswith("gemm:8,8,8, inference, batch 2, int8 · row fidelity\n")
    assert codesign("compare", *small).out.startswith("gemm:8,8,8, inference · row fidelity\n")


def test_a_comparison_shows_energy_at_the_board_where_machines_state_it(codesign) -> None:
    both = ("compare", "gemm:512,512,512", "--arch", "rtx4090", "--arch", "sat")
    out = codesign(*both).out
    found = json.loads(codesign(*both, "--json").out)["results"][0]
    (line,) = out.split("energy at the board")[1].splitlines()[1:]
    joule, watt = found["board_energy_j"], found["board_energy_j"] / found["latency_s"]
    assert line.split() == ["rtx4090", "·", "dense", f"{joule * 1e6:.3g}", "µJ", f"{watt:.3g}", "W"]
    assert "at the board" not in codesign(*both[:2], "--arch", "sat").out
