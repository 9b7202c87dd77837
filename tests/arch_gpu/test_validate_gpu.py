"""Are measured products read strictly, split and timed as documented, and scored as stated?"""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError
from codesign.measure.compare import decide, errors, paired, weight_rows
from codesign.measure.gpu_decisions import decisions, interval
from codesign.measure.gpu_fit import with_kernels
from codesign.measure.gpu_roofline import Roofline3, fit_roofline
from codesign.measure.gpu_rows import (
    Protocol,
    Rows,
    is_fit,
    machine_name,
    predict,
    protocols,
    read_rows,
)
from codesign.measure.gpu_scatter import scatter_svg
from codesign.measure.gpu_scores import Scored, scored_groups
from codesign.measure.gpu_transfer import lent_protocol, transfers, unknown
from codesign.measure.suite import suites
from codesign.measure.validate_gpu import SAMPLE, run

HEADER = "gpu,dtype,pattern,library,version,m,n,k,latency_us,l2_state,source"
ROW = "H200-SXM,fp16,dense,vLLM,0.11.0,64,4096,4096,8.7,unknown,aiconfigurator-0.4.0"
PROTOCOL = Protocol(origin="o", library="l", offset_us=3.0, warm=0.0, burst=0.0)


def write(folder: Path, *lines: str) -> Path:
    file = folder / "rows.csv"
    file.write_text("\n".join((HEADER, *lines)) + "\n")
    return file


def some_rows(gpu: str = "RTX-4090", pattern: str = "dense", count: int = 48) -> Rows:
    draw = np.random.default_rng(1)
    sizes = np.ones((count, 4), dtype=np.int64)
    sizes[:, 1] = 2 ** draw.integers(0, 13, count)
    sizes[:, 2:] = 256 * draw.integers(1, 64, (count, 2))
    return Rows("o", gpu, "fp16", pattern, "l", sizes, np.ones(count))


def test_the_sample_is_within_its_bounds():
    found = run()
    assert found.passed
    assert found.rows == 21
    assert found.skipped_reason is not None
    assert all(not is_fit(int(n), int(k)) for r in read_rows([SAMPLE]) for _, _, n, k in r.sizes)


def test_a_folder_is_read_whole_packed_files_too(tmp_path):
    write(tmp_path, ROW)
    (tmp_path / "more.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{ROW}\n".encode()))
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    scored, _ = scored_groups(tmp_path)
    assert [len(one.rows) for one in scored] == [2]
    assert suites()["gpu"].run(tmp_path).rows == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("64,4096,4096,8.7", "0,4096,4096,8.7"), ":2: m: a whole number"),
        (("8.7", "-1"), ":2: latency_us: a number above 0"),
        (("8.7", "fast"), ":2: latency_us: a number above 0"),
        (("8.7", "nan"), ":2: latency_us: a number above 0"),
        (("dense", "dens"), "did you mean 'dense'"),
        (("8.7,", ""), "cells for"),
    ],
)
def test_faults_of_a_file_name_their_place(tmp_path, change, said):
    file = write(tmp_path, ROW.replace(*change))
    with pytest.raises(CodesignError, match="rows") as fault:
        run(file)
    assert said in str(fault.value)


def test_an_empty_folder_and_broken_gzip_are_faults(tmp_path):
    with pytest.raises(CodesignError, match="no CSV file"):
        run(tmp_path)
    file = tmp_path / "rows.csv.gz"
    file.write_bytes(b"no gzip")
    with pytest.raises(CodesignError, match="gzip"):
        run(file)


@pytest.mark.parametrize(
    ("name", "held", "said"),
    [
        ("a.csv", b"\xff\xfe\x00gpu", "a.csv: not UTF-8 text"),
        ("a.csv.gz", b"gpu,dtype", "a.csv.gz: not a gzip file"),
        ("a.csv.gz", b"\x1f\x8b\x08\x00garbage", "a.csv.gz: not a gzip file"),
        ("a.csv", HEADER.replace("dtype", "type").encode(), "a.csv:1: no column dtype"),
    ],
)
def test_a_file_of_a_folder_that_is_broken_or_lacks_little_is_named(tmp_path, name, held, said):
    write(tmp_path, ROW)
    (tmp_path / name).write_bytes(held)
    with pytest.raises(CodesignError, match=said):
        scored_groups(tmp_path)


def test_boards_and_types_without_a_model_are_left_out_by_name(tmp_path):
    rows = (ROW.replace("H200-SXM", "Z80"), ROW.replace("fp16", "fp4"), ROW)
    found = run(write(tmp_path, *rows))
    out = [group for group in found.groups if group.name.startswith("left out")]
    assert {group.note for group in out} == {"no machine file for Z80", "no fp4 tensor cores"}
    assert found.rows == 1


def test_every_board_of_the_protocols_has_a_machine():
    for one in protocols().protocols:
        assert one.fitted_on
        assert not one.gpu or machine_name(one.gpu)


def test_a_protocol_is_that_of_the_board_and_type_before_any_other():
    rows = replace(some_rows("H200-SXM"), origin="aiconfigurator", library="vLLM", dtype="fp8")
    assert protocols().find(rows).cutlass
    assert not protocols().find(replace(rows, dtype="fp16")).cutlass
    other = protocols().find(replace(rows, gpu="B200", dtype="fp16"))
    assert (other.gpu, other.library) == ("", "vLLM")


def test_the_offset_adds_and_the_floor_bounds():
    machine, rows = load_arch("rtx4090"), some_rows()
    plain = predict(machine, rows, PROTOCOL)
    later = predict(machine, rows, PROTOCOL.model_copy(update={"offset_us": 5.0}))
    assert later == pytest.approx(plain + 2)
    floor = predict(machine, rows, PROTOCOL.model_copy(update={"floor_us": 20.0}))
    assert floor == pytest.approx(np.maximum(plain, 20))


def test_warm_operands_and_short_bursts_only_save_time():
    machine, rows = load_arch("h200"), some_rows("H200-SXM")
    plain = predict(machine, rows, PROTOCOL)
    for change in ({"warm": 0.9}, {"burst": 0.4}, {"rate": 1.2}, {"memory": 1.1}):
        quicker = predict(machine, rows, PROTOCOL.model_copy(update=change))
        assert (quicker <= plain * (1 + 1e-12)).all()
        assert (quicker < plain).any()


def test_only_a_board_that_power_limits_has_bursts():
    rows = some_rows("RTX-4090")
    for share, gains in ((1.0, False), (0.5, True)):
        machine = with_kernels(load_arch("rtx4090"), "dense", {"sustained": {"fp16": share}})
        plain, burst = (
            predict(machine, rows, PROTOCOL.model_copy(update={"burst": b})) for b in (0.0, 1.0)
        )
        assert (burst < plain).any() == gains
        free = with_kernels(machine, "dense", {"sustained": {"fp16": 1.0}})
        assert (burst >= predict(free, rows, PROTOCOL)).all()


def test_a_library_with_fewer_tiles_is_never_quicker():
    machine, rows = load_arch("h100_sxm"), some_rows("H100-SXM-80GB")
    every = predict(machine, rows, PROTOCOL)
    fewer = predict(machine, rows, PROTOCOL.model_copy(update={"powers_of_two": True}))
    assert (fewer >= every).all()
    assert (fewer > every).any()


def test_clocks_of_another_board_are_not_lent():
    rows = replace(some_rows("H100-80GB"), origin="vidur", library="PyTorch")
    found = lent_protocol(rows, transfers().boards["h100_sxm"])
    assert (found.rate, found.memory) == (1.0, 1.0)
    assert protocols().find(rows).rate != 1.0


def test_the_baseline_finds_its_own_numbers():
    machine, rows = load_arch("rtx4090"), some_rows(count=96)
    truth = Roofline3(4.0, 0.6, 0.8)
    made = replace(rows, latency_us=truth.predict(machine, rows))
    found = fit_roofline(machine, made)
    assert found.predict(machine, rows) == pytest.approx(made.latency_us, rel=0.02)


def test_an_unknown_board_keeps_its_configuration_and_nothing_that_was_fitted_to_it():
    machine, lent = load_arch("h100_pcie"), transfers().boards["h100_pcie"]
    found = unknown(machine, lent, "sparse")
    spoilt = machine.spec.model_copy(
        update={
            "sparse": machine.spec.sparse.model_copy(update={"step_cycles": 1.0, "sustained": {}}),
            "power": machine.spec.power.model_copy(update={"mac_pj_at_1ghz": 99.0}),
        }
    )
    again = unknown(TensorCore(spoilt), lent, "sparse")
    assert (again.spec.sparse, again.spec.power) == (found.spec.sparse, found.spec.power)
    assert found.spec.sparse.step_cycles == lent.kernels["sparse"]["step_cycles"]
    assert found.spec.sparse.sustained == {}
    assert (found.spec.dram, found.spec.l2) == (machine.spec.dram, machine.spec.l2)


@pytest.mark.parametrize("library", ["cuBLASLt", "cuSPARSELt"])
def test_a_lent_protocol_has_nothing_of_the_board_but_its_timer(library):
    rows = replace(some_rows("RTX-4090"), origin="vllmbench", library=library)
    listed = [p for p in protocols().protocols if (p.origin, p.library) == ("vllmbench", library)]
    others = [p for p in listed if p.gpu not in ("", rows.gpu)]
    own, lent = protocols().find(rows), transfers().boards["rtx4090"]
    assert own.gpu == rows.gpu
    found = lent_protocol(rows, lent)
    assert (found.offset_us, found.burst) == (own.offset_us, lent.bursts[library])
    assert found.warm == median(p.warm for p in others) != own.warm


def test_errors_and_decisions():
    found = errors(np.array([1.0, 3.0, 6.0]), np.array([2.0, 3.0, 4.0]))
    assert (found.mape, found.median, found.bias, found.tau) == (
        pytest.approx(1 / 3), 0.5, 0.0, pytest.approx(1.0),
    )  # fmt: skip
    dense = (np.array([2.0, 2.0, 2.0]), np.array([2.0, 2.0, 2.0]), np.array([1.0, 1.0, 1.0]))
    sparse = (np.array([1.0, 3.0, 1.0]), np.array([1.0, 3.0, 2.01]), np.array([2.0, 2.0, 2.0]))
    one = decide(dense, sparse)
    assert (one.shapes, one.right, one.baseline_right) == (3, 2, 2)
    assert (one.contested, one.contested_right) == (1, 0)


def test_a_decision_comes_with_its_interval_and_with_how_far_two_measurements_agree():
    sizes = np.array([(1, m, 64, 64) for m in (8, 16, 32, 64)])
    machine, everywhere = load_arch("rtx4090"), np.ones(4, dtype=np.bool_)

    def group(dtype: str, pattern: str, measured: list[float], predicted: list[float]) -> Scored:
        rows = Rows("o", "RTX-4090", dtype, pattern, "l", sizes, np.array(measured))
        times = np.array(predicted)
        return Scored(rows, machine, times, times, everywhere, calibrated=True)

    flat = [2.0, 2.0, 2.0, 2.0]
    scored = [
        group("bf16", "dense", flat, flat), group("bf16", "2:4", [1, 1, 1, 3], [1, 1, 3, 3]),
        group("fp16", "dense", flat, flat), group("fp16", "2:4", [1, 1, 1, 1], [1, 1, 1, 1]),
    ]  # fmt: skip
    found, rows = decisions(scored)
    assert found is not None
    assert (found.rows, found.exact_rows, found.passed) == (8, 7, False)
    assert "bf16 and fp16 as measured agree in 3 of 4 (75.0%)" in found.note
    assert [row["right"] for row in rows] == [0.75, 1.0]
    for row in rows:
        assert 0 < row["at least"] < row["right"] <= row["at most"] <= 1
    assert interval(0, 9)[0] == pytest.approx(0)
    alone, _ = decisions(scored[:2])
    assert alone is not None
    assert "agree" not in alone.note


def test_the_worst_single_weight_shape_is_named():
    rows = Rows(
        "o", "Z80", "fp16", "dense", "l",
        np.array([(1, 8, 64, 32), (1, 16, 64, 32), (1, 8, 128, 32)]), np.array([1.0, 1.0, 2.0]),
    )  # fmt: skip
    predicted, everywhere = np.array([1.1, 1.3, 2.2]), np.ones(3, dtype=np.bool_)
    (found,) = weight_rows("s", rows, predicted, everywhere)
    assert (found["(n, k)"], found["at n, k"]) == (2, "64, 32")
    assert found["worst of them"] == pytest.approx(0.2)
    assert found["median of them"] == pytest.approx(0.15)
    assert list(weight_rows("s", rows, predicted, ~everywhere)) == []


def test_pairs_are_of_equal_shapes():
    rows = some_rows()
    left, right = paired(rows, rows.where(np.array([5, 3])))
    assert rows.sizes[left].tolist() == rows.sizes[[5, 3]].tolist()
    assert right.tolist() == [0, 1]


def test_a_scatter_plot_has_a_point_for_each_row():
    rows = some_rows()
    root = ElementTree.fromstring(scatter_svg(rows, rows.latency_us * 2))
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == len(rows)
