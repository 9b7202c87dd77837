"""Does `codesign crossover` print what single comparisons say, on 80 columns, and as JSON?"""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from click import UsageError

from codesign.cli.crossover import _BATCHES, _TOKENS
from codesign.cli.crossover_tables import Answer, show_answer
from codesign.cli.suggest import Counts
from codesign.config import shipped
from codesign.crossover.curve import Curve, Point
from codesign.crossover.layers import Gain, Keeping
from codesign.crossover.trust import Trust
from codesign.crossover.words import BATCH, TOKENS
from codesign.measure.gpu_standings import Standing
from tests.cli.made_results import op_result, run_result

SPARSE = op_result("gemm", pattern="2:4")
GOLDEN = """\
a title

2:4: speed-up over dense by tokens
          1    16    64   128   256   512  1024  2048  4096  8192 16384
───────────────────────────────────────────────────────────────────────
board  1.05  1.50  2.00  1.05  1.04 0.98? 0.80- 0.80- 0.80- 0.80- 1.00=
other 1.00= 1.00= 1.00= 1.00= 1.00= 1.00= 1.00= 1.00= 1.00= 1.00= 1.00=
third  1.20  1.20  1.20  1.20  1.20  1.20  1.20  1.20  1.20  1.20  1.20
- loses; ? too close to call, within the error; = no difference

2:4: energy over dense by tokens
         1   16   64  128  256  512 1024 2048 4096 8192 16384
─────────────────────────────────────────────────────────────
board 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50  0.50
other 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50  0.50
third 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50 0.50  0.50
no measurement says how far energies are off

board · 2:4 pays up to 256 tokens (best 2.00× at 64 tokens), is too close to
call at 512 tokens (0.98×), loses from 1,024 to 8,192 tokens (worst 0.80× at
1,024 tokens), makes no difference at 16,384 tokens. Bound by memory at 1 and
16,384 tokens.
board · 2:4 takes 0.50 of the dense energy.
other · 2:4 makes no difference at every size, 1 to 16,384 tokens. Bound by
memory at 1 and 16,384 tokens.
other · 2:4 takes 0.50 of the dense energy.
third · 2:4 pays at every size, 1 to 16,384 tokens (best 1.20× at 1 token).
Bound by memory at 1 and 16,384 tokens.
third · 2:4 takes 0.50 of the dense energy.

how far speed-ups are off
                    m 17 to 128    m over 1024
──────────────────────────────────────────────
board bf16 2:4    12 %, 9 of 10  6 %, 10 of 10
* other bf16 2:4  30 %, 9 of 10
mean error of the speed-up of measured products of m tokens, and of how many the
faster kernel was named (`codesign validate gpu`); none has under 128
* other: not calibrated
third: nothing is known

notes
- a note
"""


def curve(speedups, trust, sizes=_TOKENS, name="board") -> Curve:
    dense = run_result([SPARSE], latency_s=1.0, bound_by="memory", energy_j=2.0)
    points = (
        Point(size, size, dense, replace(dense, latency_s=1 / ratio, energy_j=1.0))
        for size, ratio in zip(sizes, speedups, strict=True)
    )
    return Curve(name, "2:4", tuple(points), trust)


def standing(rows: int, **changed) -> Standing:
    base = Standing(
        dtype="bf16", pattern="2:4", least_rows=rows, most_rows=rows, products=10, right=9,
        error=0.123, least=0.97, most=1.1,
    )  # fmt: skip
    return base.model_copy(update=changed)


KNOWN = Trust("board", (standing(128), standing(4096, error=0.06, right=10)), True)
RATIOS = (1.05, 1.5, 2.0, 1.05, 1.04, 0.98, 0.8, 0.8, 0.8, 0.8, 1.0)


def printed(capsys, answer: Answer, *, energy: bool = False) -> str:
    show_answer(answer, energy=energy)
    return capsys.readouterr().out


def test_a_curve_on_80_columns(capsys):
    unknown = Trust("other", (standing(128, error=0.3),), False, "not calibrated")
    none = Trust("third", (), False, "nothing is known")
    found = [
        curve(RATIOS, KNOWN),
        curve([1.0] * 11, unknown, name="other"),
        curve([1.2] * 11, none, name="third"),
    ]
    answer = Answer("a title", TOKENS, found, [(), (), ()], [(), (), ()], ["a note"])
    assert printed(capsys, answer, energy=True) == GOLDEN


def test_a_table_that_is_too_wide_is_cut_into_equal_parts(capsys):
    sizes = tuple(range(1, 41))
    answer = Answer("t", BATCH, [curve([1.5] * 40, KNOWN, sizes)], [()], [()], [])
    lines = printed(capsys, answer).splitlines()
    heads = [line.split() for line in lines if line.strip() and line.split()[0].isdecimal()]
    assert [int(word) for head in heads for word in head] == list(sizes)
    assert {len(head) for head in heads} == {10}
    assert max(map(len, lines)) <= 80


def test_layers_of_a_model_are_printed_with_what_to_keep_dense(capsys):
    rows = [
        Gain("layers.*.q", (0.9, 1.1), ("loses", "close"), (0.2, 0.1)),
        Gain("layers.*.up", (1.4, 1.5), ("pays", "pays"), (0.4, 0.3)),
    ]
    keeps = [Keeping(1, ("layers.*.q",), ("layers.*.up",), 1.25, certain=True)]
    answer = Answer("t", BATCH, [curve((1.2, 1.3), KNOWN, (1, 4))], [rows], [keeps], [])
    out = printed(capsys, answer)
    assert (
        """\
board · 2:4: speed-up of layers by batch
                1     4
───────────────────────
layers.*.q  0.90- 1.10?
layers.*.up  1.40  1.50
At batch 1 keep dense: layers.*.q. The whole is then 1.25× (--where
'layers.*.up').
"""
        in out
    )


def answered(codesign, *arguments: str) -> dict:
    ran = codesign("crossover", *arguments, "--json")
    assert (ran.code, ran.err) == (0, ""), ran.err
    return json.loads(ran.out)


def test_single_points_are_those_of_compare(codesign):
    archs = ("--arch", "gb10", "--arch", "sat")
    content = answered(codesign, "gemm:256,512", *archs, "--tokens", "32,8,32", "--dtype", "bf16")
    assert (content["axis"], content["dtype"], content["phase"]) == ("tokens", "bf16", "inference")
    assert [one["arch"] for one in content["curves"]] == ["gb10", "sat"]
    for one in content["curves"]:
        assert [point["tokens"] for point in one["points"]] == [8, 32]
        for point in one["points"]:
            ran = codesign(
                "compare", f"gemm:{point['tokens']},256,512", "--arch", one["arch"],
                "--sparsity", "dense", "--sparsity", "2:4", "--dtype", "bf16", "--json",
            )  # fmt: skip
            _, sparse = json.loads(ran.out)["ratios"]
            assert point["speedup"] == pytest.approx(sparse["speedup_over_baseline"])
            assert point["energy_ratio"] == pytest.approx(sparse["energy_j"])
            assert point["verdict"] in ("pays", "loses", "close", "same")


def test_a_model_goes_by_batch_and_names_its_layers(codesign):
    content = answered(
        codesign, "gpt2", "--phase", "decode", "--context", "16", "--arch", "h100_sxm",
        "--batch", "1,8", "--sparsity", "2:4", "--sparsity", "monarch(4)",
    )  # fmt: skip
    assert (content["axis"], content["context"]) == ("batch", 16)
    for one in content["curves"]:
        assert [point["batch"] for point in one["points"]] == [1, 8]
        assert len(one["layers"]) > 2
        assert all(len(row["speedups"]) == 2 for row in one["layers"])
    two_four, monarch = content["curves"]
    assert two_four["points"][1]["rows"] == 8
    assert two_four["points"][0]["likely_from"] < two_four["points"][0]["likely_to"]
    assert monarch["points"][0]["likely_from"] is None
    assert "no measured product is like it" in monarch["trust"]["remark"]


@pytest.mark.parametrize(
    ("workload", "axis", "sizes"),
    [("gemm:64,64", "tokens", _TOKENS), ("resnet9", "batch", _BATCHES)],
)
def test_sizes_without_being_asked(codesign, workload, axis, sizes):
    content = answered(codesign, workload, "--arch", "dense_systolic", "--fidelity", "tile")
    assert tuple(point[axis] for point in content["curves"][0]["points"]) == sizes
    assert content["curves"][0]["says"].count("no difference") == 1


def test_sizes_come_in_rising_order_once_each():
    assert Counts(1, 1 << 31).convert("16384, 1,8,1", None, None) == (1, 8, 16384)
    with pytest.raises(UsageError, match="65 numbers are more than 64"):
        Counts(1, 99).convert(",".join(["1"] * 65), None, None)


def test_a_note_names_the_first_size_that_it_is_of(codesign):
    content = answered(
        codesign, "llama2_7b", "--phase", "decode", "--context", "1024", "--arch", "rtx4090",
        "--batch", "1,64,256", "--fidelity", "tile",
    )  # fmt: skip
    (note,) = content["notes"]
    assert note.startswith("batch 64: needs at least ")


def test_a_stored_trace_goes_by_its_own_batch_alone(codesign, tmp_path):
    saved = tmp_path / "trace.json"
    assert codesign("extract", "gemm:8,64,64", "-o", str(saved)).code == 0
    content = answered(codesign, str(saved), "--arch", "sat")
    assert len(content["curves"][0]["points"]) == 1
    ran = codesign("crossover", str(saved), "--arch", "sat", "--batch", "1,2")
    assert ran.code == 2
    assert "is a saved trace" in ran.err


def test_two_machines_of_one_name_are_told_apart(codesign, tmp_path):
    copy = tmp_path / "mine.yaml"
    copy.write_bytes((shipped("arch_configs") / "sat.yaml").read_bytes())
    content = answered(codesign, "gemm:8,8", "--arch", "sat", "--arch", str(copy), "--tokens", "1")
    assert [one["arch"] for one in content["curves"]] == ["sat", str(copy)]


def test_energy_at_the_board_has_a_table_where_boards_are_known(codesign):
    run = (
        "crossover",
        "gemm:64,64",
        "--arch",
        "gb10",
        "--arch",
        "sat",
        "--tokens",
        "8",
        "--energy",
    )
    out = codesign(*run).out
    tables = out.split("\n\n")
    (devices,) = [part for part in tables if part.startswith("2:4: energy over dense")]
    (boards,) = [part for part in tables if part.startswith("2:4: energy at the board over dense")]
    (gb10,) = json.loads(codesign(*run, "--json").out)["curves"][0]["points"]
    assert ("sat" in devices, "sat" in boards) == (True, False)
    assert f"gb10 {gb10['energy_ratio']:.2f}" in devices
    assert f"gb10 {gb10['board_energy_ratio']:.2f}" in boards


def test_a_plot_has_a_curve_for_each_machine_and_pattern(codesign, tmp_path):
    path = tmp_path / "speedups.svg"
    ran = codesign(
        "crossover", "gemm:64,64", "--arch", "gb10", "--arch", "sat", "--tokens", "1,2,4",
        "--plot", str(path),
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, f"plot: {path}\n")
    drawn = path.read_text()
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    curves = [part for part in drawn.split("<path ") if 'stroke-width="1.6"' in part]
    assert [part.split('"')[1].count("L") for part in curves] == [2, 2]
    assert "gb10 · 2:4, 4 tokens" in drawn
    shaded = [part for part in drawn.split("<path ") if 'fill-opacity=".13"' in part]
    assert [part.split('"')[1].count("L") for part in shaded] == [5]
