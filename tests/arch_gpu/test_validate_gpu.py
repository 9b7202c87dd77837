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
from codesign.measure.calibrate import (
    Roofline3,
    fit_kernels,
    fit_roofline,
    log_errors,
    with_kernels,
)
from codesign.measure.compare import decide, errors, paired
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
from codesign.measure.suite import suites
from codesign.measure.validate_gpu import (
    DENSE_DONORS,
    SAMPLE,
    SPARSE_DONORS,
    lent,
    run,
    scored_groups,
    unknown,
)

HEADER = "gpu,dtype,pattern,library,version,m,n,k,latency_us,l2_state,source"
ROW = "H200-SXM,fp16,dense,vLLM,0.11.0,64,4096,4096,8.7,unknown,aiconfigurator-0.4.0"
PROTOCOL = Protocol(origin="o", library="l", offset_us=3.0, warm=0.0, burst=1.0)


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
    assert lent(rows).offset_us == protocols().find(rows).offset_us


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
    for change in ({"warm": 0.9}, {"burst": 1.4}, {"rate": 1.2}, {"memory": 1.1}):
        quicker = predict(machine, rows, PROTOCOL.model_copy(update=change))
        assert (quicker <= plain * (1 + 1e-12)).all()
        assert (quicker < plain).any()


def test_calibration_finds_constants_that_made_the_data():
    machine = load_arch("h200")
    slow = with_kernels(machine, False, {"read_efficiency": 0.5, "step_cycles": 1800.0})
    rows = some_rows("H200-SXM", count=64)
    made = replace(rows, latency_us=predict(slow, rows, PROTOCOL))
    names = ("read_efficiency", "step_cycles")
    fit = fit_kernels(
        machine, [made], PROTOCOL, kernels=names, protocol=(), rates=False, rounds=200
    )
    assert fit.machine.spec.dense.read_efficiency == pytest.approx(0.5, rel=0.05)
    assert fit.machine.spec.dense.step_cycles == pytest.approx(1800, rel=0.15)
    assert fit.machine.spec.dense.sharing == machine.spec.dense.sharing
    held = made.where(~made.in_fit)
    before, after = (log_errors(m, held, PROTOCOL).mean() for m in (machine, fit.machine))
    assert after < 0.02 < before


def test_calibration_looks_at_the_fitted_half_alone():
    machine, rows = load_arch("rtx4090"), some_rows()
    made = replace(rows, latency_us=predict(machine, rows, PROTOCOL))
    spoilt = made.latency_us.copy()
    spoilt[~made.in_fit] *= 100
    fits = [
        fit_kernels(
            machine, [replace(made, latency_us=us)], PROTOCOL, kernels=("step_cycles",),
            protocol=("offset_us",), rates=False, rounds=40,
        )
        for us in (made.latency_us, spoilt)
    ]  # fmt: skip
    assert fits[0] == fits[1] or fits[0].machine.spec == fits[1].machine.spec


def test_the_baseline_finds_its_own_numbers():
    machine, rows = load_arch("rtx4090"), some_rows(count=96)
    truth = Roofline3(4.0, 0.6, 0.8)
    made = replace(rows, latency_us=truth.predict(machine, rows))
    found = fit_roofline(machine, made)
    assert found.predict(machine, rows) == pytest.approx(made.latency_us, rel=0.02)


def test_an_unknown_board_keeps_its_configuration_and_nothing_that_was_fitted_to_it():
    machine, donor = load_arch("h200"), load_arch("h100_sxm")
    found = unknown(machine, donor, sparse=False)
    other = machine.spec.model_copy(
        update={
            "dense": machine.spec.dense.model_copy(update={"step_cycles": 1.0, "sustained": {}}),
            "power": machine.spec.power.model_copy(update={"mac_pj_at_1ghz": 99.0}),
        }
    )
    again = unknown(TensorCore(other), donor, sparse=False)
    assert (again.spec.dense, again.spec.power) == (found.spec.dense, found.spec.power)
    assert found.spec.dense.step_cycles == donor.spec.dense.step_cycles
    assert found.spec.dram == machine.spec.dram
    same = unknown(donor, donor, sparse=False)
    assert same.sustained("fp16") == pytest.approx(donor.sustained("fp16"))


def test_donors_were_fitted_to_rows_of_their_own():
    for field, donors in (("dense", DENSE_DONORS), ("sparse", SPARSE_DONORS)):
        for board, donor in donors.items():
            assert board != donor
            ours, theirs = (
                load_arch(name).spec.source_of(f"{field}.step_cycles") for name in (board, donor)
            )
            assert theirs.status == "measured"
            assert ours.source != theirs.source


@pytest.mark.parametrize("library", ["cuBLASLt", "cuSPARSELt"])
def test_a_lent_protocol_has_nothing_of_the_board_but_its_timer(library):
    rows = replace(some_rows("RTX-4090"), origin="vllmbench", library=library)
    listed = [p for p in protocols().protocols if (p.origin, p.library) == ("vllmbench", library)]
    others = [p for p in listed if p.gpu not in ("", rows.gpu)]
    own = protocols().find(rows)
    assert own.gpu == rows.gpu
    assert lent(rows).offset_us == own.offset_us
    for name in ("warm", "burst", "rate", "memory"):
        assert getattr(lent(rows), name) == median(getattr(p, name) for p in others)
    assert lent(rows).warm != median(p.warm for p in listed if p.gpu)


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


def test_pairs_are_of_equal_shapes():
    rows = some_rows()
    left, right = paired(rows, rows.where(np.array([5, 3])))
    assert rows.sizes[left].tolist() == rows.sizes[[5, 3]].tolist()
    assert right.tolist() == [0, 1]


def test_a_scatter_plot_has_a_point_for_each_row():
    rows = some_rows()
    root = ElementTree.fromstring(scatter_svg(rows, rows.latency_us * 2))
    assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == len(rows)
