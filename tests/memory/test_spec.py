"""Are the shipped DRAM tables sound, and are faults in a user's table told?"""

from __future__ import annotations

import pytest
import yaml

from codesign.config import CodesignError, ConfigError
from codesign.memory import dram, presets, rules
from codesign.memory.expression import cycles_of
from codesign.memory.spec import HERE, standard
from codesign.units import PS_PER_NS


def test_asked_for_presets_are_there():
    names = " ".join(presets())
    for name in ("ddr4_2400", "lpddr4x", "lpddr5", "gddr6", "hbm2_", "hbm2e", "hbm3_", "hbm3e"):
        assert name in names


BANDWIDTH_GB_PER_S = {
    "ddr4_2400": 19.2,
    "lpddr4x_4266": 17.1,
    "lpddr5_6400": 12.8,
    "gddr6_14000": 56.0,
    "hbm2_2000": 256.0,
    "hbm2e_3200": 409.6,
    "hbm3_6400": 819.2,
    "hbm3e_9200": 1177.6,
}


@pytest.mark.parametrize("name", [*BANDWIDTH_GB_PER_S, "gddr6_aim"])
def test_preset_is_consistent(name):
    spec = dram(name)
    assert spec.name == name
    t = spec.cycles
    assert t["nRC"] >= t["nRAS"]
    assert abs(t["nRC"] - t["nRAS"] - t["nRP"]) <= 3
    assert t["nFAW"] >= t["nRRDS"]
    assert t["nREFI"] > t["nRFC"]
    cited = {timing.source for timing in spec.timings.values()}
    cited |= {spec.organisation_source, spec.energy.source}
    assert cited == set(spec.sources)
    used = " ".join(row.gap for row in standard(spec.standard).constraints)
    used += " ".join(str(c.bus_cycles) for c in standard(spec.standard).commands.values())
    by_controller = {"nREFI", "nREFIpb", "nCL", "nDQSCK", "nREG", "nMAC", "nCCDS", "nWTRS"}
    aim_only = {"nFAW", "nPPD", "nRREFD", "nRFCpb"} if name == "gddr6_aim" else set()
    spare = {n for n in spec.timings if n not in used} - by_controller - aim_only
    assert not spare - {"nACT"}, f"timings without effect: {spare}"


@pytest.mark.parametrize("name", BANDWIDTH_GB_PER_S)
def test_peak_is_that_of_the_name(name):
    spec = dram(name)
    peak = spec.peak_bytes_per_cycle / spec.tck_ps * PS_PER_NS
    assert peak == pytest.approx(BANDWIDTH_GB_PER_S[name], rel=0.005)


def test_expressions():
    names = {"nA": 3, "nB": 5, "max": 7}
    for text, value in {
        "nA": 3,
        "2*nA+nB": 11,
        "2 * (nA + nB) - 1": 15,
        "max(nA, nB, 4) * 2": 10,
        "nA - nB": -2,
        "nA - nB + 1": -1,
        "max": 7,
        " 12 ": 12,
    }.items():
        assert cycles_of(text, names) == value
    for text in ("", "nA +", "max(nA", "nA nB", "nA / 2", "1.5", "nC", "(nA", "__import__", "nA)"):
        with pytest.raises(CodesignError):
            cycles_of(text, names)
    with pytest.raises(CodesignError, match="did you mean 'nRCDRD'"):
        cycles_of("nRCDRF", {"nRCDRD": 1})


def changed(tmp_path, edit):
    """A copy of a preset with one change, as a file."""
    data = yaml.safe_load((HERE / "presets" / "ddr4_2400.yaml").read_text())
    edit(data)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def test_a_users_file_is_loaded_and_its_faults_are_told(tmp_path):
    assert dram(changed(tmp_path, lambda d: None)).tables.shape[0] == 1
    spec = dram(str(changed(tmp_path, lambda d: d["timings"]["nRP"].update(cycles=99))))
    assert spec.cycles["nRP"] == 99
    with pytest.raises(CodesignError, match="no timing is called 'nRP'"):
        dram(changed(tmp_path, lambda d: d["timings"].pop("nRP")))
    with pytest.raises(ConfigError, match="no source is called 'blog'"):
        dram(changed(tmp_path, lambda d: d["timings"]["nRP"].update(source="blog")))
    with pytest.raises(ConfigError, match="rows"):
        dram(changed(tmp_path, lambda d: d["organisation"].update(rows=0)))
    with pytest.raises(
        CodesignError, match="no DRAM standard is called 'ddr44'; did you mean 'ddr4'"
    ):
        dram(changed(tmp_path, lambda d: d.update(standard="ddr44")))
    with pytest.raises(CodesignError, match="did you mean 'ddr4_2400'"):
        dram("ddr4_2401")


def test_a_copy_forgets_what_was_worked_out():
    spec = dram("ddr4_2400")
    slower = spec.timings["nRP"].model_copy(update={"cycles": 40})
    other = spec.model_copy(update={"timings": {**spec.timings, "nRP": slower}})
    assert other.key != spec.key
    assert (other.tables.book != spec.tables.book).any()


def test_overrides_reach_the_tables():
    spec = dram("ddr4_2400", {"timings.nCCDL.cycles": 8, "organisation.ranks": 2})
    assert spec.tables.shape[0] == 2
    assert any(r.level == "bank_group" and r.gap_cycles == 8 for r in rules(spec))
