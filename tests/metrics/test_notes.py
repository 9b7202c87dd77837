"""Is a run told so that does not fit its machine's memory or that nothing prunes, and no other?"""

from __future__ import annotations

import doctest

import pytest

import codesign
from codesign.arch.gpu_parts import BoardMemory
from codesign.config import shipped
from codesign.measure.knobs import turned
from codesign.metrics import notes
from codesign.metrics.notes import method_note
from codesign.trace.sparsify import sparsify
from codesign.trace.transform import make_sparse
from codesign.units import BYTES_PER_GIB

DECODE = {"phase": "decode", "context": 1024}


def notes_of(arch: str, *, batch: int) -> tuple[str, ...]:
    trace = codesign.load_workload("llama2_7b", batch=batch, **DECODE)
    result = codesign.evaluate(trace, codesign.load_arch(arch), fidelity="tile")
    return tuple(note for note in result.notes if "GiB" in note)


def test_a_batch_that_does_not_fit_is_told_with_both_sizes():
    (note,) = notes_of("rtx4090", batch=256)
    assert note.startswith("needs at least 141 GiB of memory (weights 12.6, cache 128)")
    assert "rtx4090 has 24 GiB" in note


def test_what_fits_has_no_note_and_a_sparse_model_may_fit_where_a_dense_one_does_not():
    assert notes_of("rtx4090", batch=8) == ()
    small = turned(codesign.load_arch("rtx4090"), {"dram.capacity_bytes": 10 * BYTES_PER_GIB})
    trace = codesign.load_workload("llama2_7b", **DECODE)
    for sparsity, fits in (("dense", False), ("2:4", True)):
        result = codesign.evaluate(make_sparse(trace, sparsity), small, fidelity="tile")
        assert any("GiB" in note for note in result.notes) != fits, sparsity


def test_the_note_is_in_the_plain_result():
    trace = codesign.load_workload("llama2_7b", batch=256, **DECODE)
    result = codesign.evaluate(trace, codesign.load_arch("rtx4090"), fidelity="tile")
    assert any("rtx4090 has 24 GiB" in note for note in result.to_dict()["notes"])


def test_every_gpu_states_its_memory_and_a_file_may_leave_it_out():
    gpus = 0
    for path in shipped("arch_configs").glob("*.yaml"):
        machine = codesign.load_arch(path.stem)
        if machine.spec.machine == "tensor_core":
            gpus += 1
            assert machine.memory_bytes % BYTES_PER_GIB == 0
            source = machine.spec.source_of("dram.capacity_bytes")
            assert source.status == "published"
            assert source.source.startswith(f"{machine.memory_bytes // BYTES_PER_GIB} GB")
    assert gpus == 21
    assert codesign.load_arch("sat").memory_bytes is None
    plain = codesign.load_arch("t4").spec.dram.model_dump(exclude={"capacity_bytes"})
    assert BoardMemory(**plain).capacity_bytes is None


@pytest.mark.parametrize(
    ("phase", "method", "told"),
    [
        ("inference", "sdgp", "method sdgp leaves the forward pass dense"),
        ("inference", "bdwp", None),
        ("training", "sdgp", None),
        ("training", "dense", "method dense leaves the training step dense"),
    ],
)
def test_a_method_that_prunes_nothing_of_a_run_is_told(phase, method, told):
    trace = codesign.load_workload("gemm:64,64,64", phase=phase)
    machine = codesign.load_arch("sat")
    result = codesign.evaluate(sparsify(trace, "2:8", where="gemm", method=method), machine)
    assert result.notes[:1] == ((told,) if told else ())
    assert method_note(trace) is None
    assert doctest.testmod(notes).failed == 0


def test_sizes_of_a_thousand_and_more_are_whole_numbers():
    (note,) = notes_of("rtx4090", batch=2048)
    assert note.startswith("needs at least 1,038 GiB of memory (weights 12.6, cache 1,025, ")
