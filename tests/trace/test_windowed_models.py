"""Are networks with dilated, transposed and 3-D windows the work that torch counts, on machines?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import codesign
from codesign.config import CodesignError
from codesign.evaluate import evaluate
from codesign.trace.extract import extract, extract_with_weights
from codesign.trace.footprint import footprint
from codesign.trace.io import load_trace, save_trace
from codesign.trace.network import Network, Value
from codesign.trace.op import Kind, Op, Phase, Trace
from codesign.trace.sparsify import sparsify, trace_effective_macs
from codesign.trace.training import train
from codesign.trace.training_steps import with_dtypes
from codesign.trace.window import Conv
from tests.trace import windowed_modules

SOURCE = f"torch:{windowed_modules.__file__}"
NAMES = ("dcgan", "wavenet", "unet", "pyramid", "vnet", "vocoder", "separable")
GROUPED = ("vocoder", "separable")
MACHINES = ("sat", "s4", "dense_systolic", "a100_sxm_80gb", "cpu_epyc9654")


def counted_by_torch(name: str, training: bool) -> int:
    net, x = getattr(windowed_modules, name)(batch=2)
    with FlopCounterMode(display=False) as counter:
        y = net.to("meta")(x.to("meta"))
        if training:
            y.sum().backward()
    return int(counter.get_total_flops()) // 2


def windows_of(trace: Trace, phase: Phase) -> list[Op]:
    return [op for op in trace if op.kind is Kind.CONV and op.phase is phase]


@pytest.mark.parametrize("name", NAMES)
def test_forward_macs_and_parameters_are_torch_s(name: str) -> None:
    trace = extract(f"{SOURCE}:{name}", batch=2)
    assert trace.macs == counted_by_torch(name, training=False)
    net, _ = getattr(windowed_modules, name)()
    assert trace.parameter_count == sum(p.numel() for p in net.parameters())
    assert all(op.conv is not None and op.c_elements == op.conv.out_elements for op in
               windows_of(trace, Phase.FORWARD))  # fmt: skip


@pytest.mark.parametrize("name", [name for name in NAMES if name not in GROUPED])
def test_training_macs_are_torch_s(name: str) -> None:
    """Torch's counter takes grouped gradients for dense ones, so that these are left out."""
    assert extract(f"{SOURCE}:{name}", phase="training", batch=2).macs == counted_by_torch(
        name, training=True
    )


@pytest.mark.parametrize("name", NAMES)
def test_each_gradient_is_as_much_work_as_its_layer(name: str) -> None:
    step = extract(f"{SOURCE}:{name}", phase="training", batch=2)
    forward = {op.name: op for op in windows_of(step, Phase.FORWARD)}
    for op in windows_of(step, Phase.BACKWARD_WEIGHT):
        layer = forward.pop(op.name.removesuffix(".backward_weight"))
        assert (op.macs, op.c_elements) == (layer.macs, layer.b_elements)
    assert not forward
    first = windows_of(step, Phase.FORWARD)[0]
    data = {op.name for op in windows_of(step, Phase.BACKWARD_DATA)}
    assert data == {
        f"{op.name}.backward_data" for op in windows_of(step, Phase.FORWARD) if op is not first
    }
    derived = train(extract(f"{SOURCE}:{name}", batch=2))
    assert derived.macs == step.macs
    updated = sum(op.elements for op in derived if op.kind is Kind.UPDATE)
    assert updated == derived.parameter_count
    sums = [op.weight for op in derived if op.function == "sum" and op.weight is not None]
    assert len(sums) == len(set(sums))


@pytest.mark.parametrize("name", NAMES)
def test_saved_traces_come_back(name: str, tmp_path: Path) -> None:
    step = extract(f"{SOURCE}:{name}", phase="training")
    save_trace(step, tmp_path / "t.json")
    back = load_trace(tmp_path / "t.json")
    assert back.ops == step.ops
    assert back.fingerprint == step.fingerprint


def test_traces_without_the_newer_windows_are_what_they_were(tmp_path: Path) -> None:
    """Files and fingerprints of plain convolutions name no dilation, depth or transposition."""
    trace = codesign.load_workload("resnet18", phase="training")
    assert trace.fingerprint == "6dbe65e92094269d"
    save_trace(trace, tmp_path / "t.json")
    text = (tmp_path / "t.json").read_text()
    assert "input_dilation_h" in text
    assert not any(f'"{name}"' in text for name in Conv.silent_defaults)
    assert load_trace(tmp_path / "t.json").ops == trace.ops
    wrong = text.replace('"conv":{', '"conv":{"transposed":1,', 1)
    (tmp_path / "t.json").write_text(wrong)
    with pytest.raises(CodesignError, match="transposed is true or false"):
        load_trace(tmp_path / "t.json")


def enlarging(batch: int = 1) -> Trace:
    """Training of a pointwise layer and of a transposed one, whose output is 16 times its input."""
    net = Network(training=True)
    x = net.conv(Value(None, (batch, 4, 4, 8)), "first", 16, 1)
    net.conv(x, "up", 2, 4, stride=4, padding=0, transposed=True)
    return train(Trace("enlarging", tuple(net.ops), net.parameters))


def test_the_weight_s_gradient_of_a_transposed_layer_has_its_operands_swapped() -> None:
    """A are windows of the output's gradient, B is the input: in types, patterns and memory."""
    step = enlarging()
    name = "up.backward_weight"
    typed = with_dtypes(step, activations="int8", gradients="fp32")[name]
    assert (typed.a_dtype, typed.b_dtype, typed.c_dtype) == ("fp32", "int8", "fp32")
    pruned = sparsify(step, "2:4", method="fst", skip_first_last=False)
    assert (str(pruned[name].a_pattern), pruned[name].b_pattern.is_dense) == ("2:4", True)
    assert str(pruned["first.backward_weight"].b_pattern) == "2:4"
    x, between, out = 4 * 4 * 8 * 2, 4 * 4 * 16 * 2, 16 * 16 * 2 * 2
    assert footprint(step, lambda op: op.b_bytes).activations == max(between + out, x + between)


@pytest.mark.parametrize("arch", MACHINES)
def test_machines_run_them_and_multiply_no_inserted_zero(arch: str) -> None:
    machine = codesign.load_arch(arch)
    for name in NAMES:
        for phase in ("inference", "training"):
            if arch == "s4" and phase == "training":
                continue
            trace = extract(f"{SOURCE}:{name}", phase=phase, batch=2)
            result = evaluate(trace, machine)
            assert result.macs == result.executed_macs == trace.macs
            halved = evaluate(sparsify(trace, "2:4", skip_first_last=False), machine)
            assert halved.executed_macs <= result.executed_macs


@pytest.mark.parametrize("arch", ["sat", "dense_systolic"])
def test_a_stepped_array_computes_what_a_closed_form_says(arch: str) -> None:
    machine = codesign.load_arch(arch, {"array.rows": 8, "array.cols": 8})
    net = extract(f"{SOURCE}:separable", phase="training")
    stepped, closed = (evaluate(net, machine, fidelity=level) for level in ("cycle", "row"))
    assert stepped.cycles == closed.cycles


def test_groups_of_a_mask_lie_along_the_inputs_of_a_transposed_layer() -> None:
    trace, weights = extract_with_weights(f"{SOURCE}:dcgan", real=True)
    net, _ = windowed_modules.dcgan()
    torch.manual_seed(0)
    layer = next(op for op in windows_of(trace, Phase.FORWARD) if op.weight == "3.weight")
    assert weights["3.weight"].shape == (32, 64, 4, 4)
    assert tuple(net.get_parameter("3.weight").shape) == (64, 32, 4, 4)
    sparse = sparsify(trace, "2:4", weights=weights, skip_first_last=False)
    rows = weights["3.weight"].transpose(0, 2, 3, 1).reshape(layer.n, layer.k)
    kept = sparse.masks[layer.name].to_dense().astype(bool)
    largest = np.sort(np.abs(rows).reshape(-1, 4), axis=1)[:, 2:].sum()
    assert np.isclose(np.abs(rows)[kept].sum(), largest)
    assert trace_effective_macs(sparse) < trace.macs


def test_weights_that_are_made_of_parameters_are_weights() -> None:
    """Of a weight norm and of a spectral one; masks come from the parameter that is normed."""
    trace, weights = extract_with_weights(f"{SOURCE}:normed", real=True)
    found = {op.layer: op.weight for op in trace if op.is_matmul}
    assert found == {
        "0": "0.parametrizations.weight.original1", "2": "2.parametrizations.weight.original1",
        "3": "3.parametrizations.weight.original", "4": "4.parametrizations.weight.original",
    }  # fmt: skip
    assert weights[str(found["2"])].shape == (8, 16, 1, 4)
    sparse = sparsify(trace, "2:4", weights=weights, where=["0", "2", "3"])
    assert set(sparse.masks) == {"0", "2", "3"}
    assert trace.macs == counted_by_torch("normed", training=False) // 2


def test_layers_without_sizes_are_refused() -> None:
    with pytest.raises(CodesignError, match="lazy layers"):
        extract(f"{SOURCE}:lazy")


@pytest.mark.parametrize("name", ["dcgan", "vnet", "vocoder", "separable"])
def test_masks_of_every_window_and_of_its_gradient_fit(name: str) -> None:
    trace, weights = extract_with_weights(f"{SOURCE}:{name}", phase="training", real=True)
    sparse = sparsify(trace, "1:2", method="bdwp", weights=weights, skip_first_last=False)
    masked = [op for op in sparse if op.name in sparse.masks and op.kind is Kind.CONV]
    assert {op.phase for op in masked} == {Phase.FORWARD, Phase.BACKWARD_DATA}
    for op in masked:
        assert sparse.masks[op.name].shape == (op.groups * op.n, op.k)


@pytest.mark.parametrize(
    ("module", "elements", "reads"),
    [
        (nn.Upsample(scale_factor=4, mode="bilinear"), 16, 1),
        (nn.Upsample(scale_factor=4, mode="nearest"), 16, 1),
    ],
)
def test_enlarging_reads_the_small_map_and_writes_the_large_one(
    module: Any, elements: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = nn.Conv2d(2, 2, 1)
    monkeypatch.setattr(
        windowed_modules, "wide", lambda: (nn.Sequential(layer, module), torch.ones(1, 2, 5, 5)),
        raising=False,
    )  # fmt: skip
    step = extract("torch:tests.trace.windowed_modules:wide", phase="training")
    up = next(op for op in step if op.layer == "1" and op.phase is Phase.FORWARD)
    down = next(op for op in step if op.layer == "1" and op.phase is Phase.BACKWARD_DATA)
    small = 2 * 5 * 5
    assert (up.elements, up.reads, up.writes) == (elements * small, reads * small, 16 * small)
    assert (down.elements, down.reads, down.writes) == (16 * small, 16 * small, small)
