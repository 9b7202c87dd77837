"""Does calibration find the constants that made the data, look at one half of it alone, and
write what it found?"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from codesign.arch import load_arch
from codesign.config import CodesignError, load_spec
from codesign.measure import calibrate as calibration
from codesign.measure.gpu_files import Calibrated, write_machine, write_protocols, write_transfers
from codesign.measure.gpu_fit import Case, Fit, fit_cases, with_kernels
from codesign.measure.gpu_power import PowerLaw, fit_power, start_law
from codesign.measure.gpu_rows import Protocol, Protocols, Rows, data_files, predict, read_rows
from codesign.measure.gpu_settings import PARTS, settings
from codesign.measure.gpu_stream_fit import StreamFit
from codesign.measure.gpu_transfer import Lent, Transfers

REPOSITORY = Path(__file__).parents[2]
DATA = os.environ.get("CODESIGN_GPU_DATA")
PROTOCOL = Protocol(origin="o", library="l", offset_us=3.0, warm=0.0, burst=0.0)
RATES = {"sustained": {"fp16": 0.6}}


def some_rows(gpu: str = "H200-SXM", count: int = 64) -> Rows:
    draw = np.random.default_rng(1)
    sizes = np.ones((count, 4), dtype=np.int64)
    sizes[:, 1] = 2 ** draw.integers(0, 13, count)
    sizes[:, 2:] = 256 * draw.integers(1, 64, (count, 2))
    return Rows("o", gpu, "fp16", "dense", "l", sizes, np.ones(count))


def made(machine, rows: Rows, protocol: Protocol = PROTOCOL) -> Rows:
    return replace(rows, latency_us=predict(machine, rows, protocol))


def test_a_fit_finds_constants_that_made_the_data():
    machine = load_arch("h200")
    slow = with_kernels(machine, "dense", {"read_efficiency": 0.5, "step_cycles": 1800.0})
    rows = made(slow, some_rows())
    fit = fit_cases(
        [Case(machine, rows, PROTOCOL)], kernels=("read_efficiency", "step_cycles"), protocol=(),
        rates=False, rounds=200,
    )  # fmt: skip
    found = fit.cases[0].kernels
    assert found.read_efficiency == pytest.approx(0.5, rel=0.05)
    assert found.step_cycles == pytest.approx(1800, rel=0.15)
    assert found.sharing == machine.spec.dense.sharing
    held = rows.where(~rows.in_fit)
    before, after = (
        np.abs(replace(case, rows=held).log_errors()).mean()
        for case in (Case(machine, rows, PROTOCOL), fit.cases[0])
    )
    assert after < 0.02 < before


def test_a_fit_looks_at_the_fitted_half_alone():
    machine = load_arch("rtx4090")
    rows = made(machine, some_rows("RTX-4090", 48))
    spoilt = rows.latency_us.copy()
    spoilt[~rows.in_fit] *= 100
    fits = [
        fit_cases(
            [Case(machine, replace(rows, latency_us=us), PROTOCOL)],
            kernels=("step_cycles",), protocol=("offset_us",), rates=False, rounds=40,
        )
        for us in (rows.latency_us, spoilt)
    ]  # fmt: skip
    assert fits[0].error == fits[1].error
    assert fits[0].cases[0].protocol == fits[1].cases[0].protocol
    assert fits[0].cases[0].kernels == fits[1].cases[0].kernels


def test_each_case_has_an_offset_of_its_own_and_all_share_the_kernels():
    machine = load_arch("rtx4090")
    late = PROTOCOL.model_copy(update={"offset_us": 9.0})
    rows = [made(machine, some_rows("RTX-4090"), p) for p in (PROTOCOL, late)]
    fit = fit_cases(
        [Case(machine, one, PROTOCOL) for one in rows], kernels=("step_cycles",),
        protocol=("offset_us",), rates=False, rounds=150,
    )  # fmt: skip
    assert [c.protocol.offset_us for c in fit.cases] == pytest.approx([3, 9], rel=0.03)
    assert fit.cases[0].kernels == fit.cases[1].kernels


def test_the_power_law_is_found_again_from_large_products():
    truth = PowerLaw(0.7, 1.8, {**start_law().mac_pj, "4N": 1.7}, {"l": 0.0})
    sizes = np.ones((40, 4), dtype=np.int64)
    sizes[:, 1] = 4096
    sizes[:, 2] = 256 * np.arange(32, 72)
    sizes[:, 3] = 8192
    cases = []
    for gpu in ("h100_pcie", "h200", "h100_sxm", "rtx4090"):
        rows = Rows("o", gpu, "fp16", "dense", "l", sizes, np.ones(40))
        case = truth.case(Case(load_arch(gpu), rows, PROTOCOL))
        cases.append(replace(case, rows=made(case.machine, rows, case.protocol)))
    found = fit_power(cases)
    for case in cases:
        assert np.abs(found.case(case).log_errors()).mean() < 0.03
        ours, theirs = found.on(case.machine), truth.on(case.machine)
        assert ours.sustained("fp16") == pytest.approx(theirs.sustained("fp16"), rel=0.15)


def test_what_was_found_is_written_and_read_again(tmp_path):
    machine = load_arch("gb10")
    rows = replace(some_rows("GB10"), origin="vllmbench", library="cuBLASLt")
    kernels = {"step_cycles": 1234.0, "sustained": {"fp16": 0.5}}
    case = Case(machine, rows, PROTOCOL).with_kernels(kernels)
    law = PowerLaw(0.75, 1.5, {"N7": 2.5, "4N": 1.25}, {"cuBLASLt": 0.2})
    lent = Lent(
        exponent=0.9, sparse_factor=1.5, mac_pj_at_1ghz=1.5, bursts={"cuBLASLt": 0.1},
        kernels={"dense": {"step_cycles": 900.0}},
    )  # fmt: skip
    found = Calibrated(
        {("gb10", "dense"): Fit((case,), 0.05, 30)}, law,
        {(False, part): Fit((case,), 0.05, 30) for part in ("sparse", "sparse_8bit")},
        (PROTOCOL,), {}, {"gb10": lent},
        StreamFit(machine, (), 0.0, 0),
    )  # fmt: skip
    file = tmp_path / "gb10.yaml"
    shutil.copy(REPOSITORY / "arch_configs" / "gb10.yaml", file)
    write_machine(file, "gb10", found)
    spec = load_arch(str(file)).spec
    assert spec.dense.step_cycles == 1234
    assert spec.dense.sustained == {"fp16": 0.5, "bf16": 0.5}
    assert (spec.power.exponent, spec.power.mac_pj_at_1ghz) == (0.75, 1.25)
    assert spec.source_of("dense.step_cycles").status == "measured"
    assert spec.source_of("sparse.step_cycles").status == "assumed"
    write_protocols(tmp_path / "p.yaml", [PROTOCOL.model_copy(update={"fitted_on": "a, b: c"})])
    assert load_spec(Protocols, tmp_path / "p.yaml").protocols[0].offset_us == 3
    write_transfers(tmp_path / "t.yaml", found.transfers)
    assert load_spec(Transfers, tmp_path / "t.yaml").boards["gb10"] == lent


def test_an_older_library_is_slower_on_every_board():
    law = PowerLaw(0.75, 1.5, {}, {"new": 0.25})

    def lent(boards: str, *, older: bool) -> Protocol:
        seen = [
            PROTOCOL.model_copy(
                update={
                    "library": "new", "gpu": gpu, "rate": rate, "memory": 1.1,
                    "powers_of_two": older,
                }
            )
            for gpu, rate in zip(boards, (0.8, 0.9), strict=False)
        ]  # fmt: skip
        (one,) = calibration.typical(seen, law)
        assert (one.gpu, one.memory, one.offset_us, one.burst) == ("", 1.0, 3.0, 0.25)
        return one

    assert lent("ab", older=True).rate == pytest.approx(0.85)
    assert lent("a", older=True).rate == 1.0, "one board's rate may be its clock"
    assert lent("aa", older=True).rate == 1.0
    assert lent("ab", older=False).rate == 1.0


def test_missing_rows_are_named():
    with pytest.raises(CodesignError, match="no rows of A100-PCIe-80GB, vllmbench, cuSPARSELt"):
        calibration.calibrate([], [])


def test_every_gpu_has_a_process_and_a_way_to_its_kernels():
    plan, law = settings(), start_law()
    for name, machine in calibration.shipped_gpus().items():
        assert law.energy(name) > 0
        for part in PARTS:
            source = machine.spec.source_of(f"{part}.step_cycles")
            own = any((one.machine, one.kernels) == (name, part) for one in plan.boards)
            assert getattr(machine.spec, part) is None or (source.status == "measured") == own


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="CODESIGN_GPU_DATA names no folder of measured products")
@pytest.mark.parametrize(
    "board", settings().boards[:8], ids=lambda one: f"{one.machine}-{one.kernels}"
)
def test_the_committed_constants_are_those_of_the_data(board):
    groups = read_rows(data_files(Path(DATA or "")))
    machine = load_arch(board.machine)
    fit = calibration.fit_board(machine, board, groups)
    for name in settings().start.kernels:
        written = float(f"{getattr(fit.cases[0].kernels, name):.4g}")
        assert getattr(getattr(machine.spec, board.kernels), name) == written
