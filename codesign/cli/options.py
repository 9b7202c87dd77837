"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import click

from codesign.cli.suggest import Count, MachineName, OneOf, ShippedName

PHASES = ("inference", "training", "prefill", "decode")
FIDELITIES = ("tile", "row", "cycle")

workload = click.argument("workload", type=ShippedName("workloads"))

arch = click.option(
    "--arch",
    required=True,
    type=MachineName(),
    metavar="NAME|FILE",
    help="A shipped machine (`codesign arch list`) or a YAML file.",
)
archs = click.option(
    "--arch",
    "archs",
    multiple=True,
    required=True,
    type=MachineName(),
    metavar="NAME|FILE",
    help="A machine; give the option once for each.",
)
sparsity = click.option(
    "--sparsity",
    default=None,
    metavar="PATTERN",
    help=(
        "2:4, unstructured(0.9), block(32x32, 0.8), monarch(4), window(4096), ... as in "
        "docs/patterns; several joined by &. [default: the model as it is]"
    ),
)
sparsities = click.option(
    "--sparsity",
    "sparsities",
    multiple=True,
    metavar="PATTERN",
    help=(
        "2:4, unstructured(0.9), dense, ..., or stored for the model's own masks; give the option "
        "once for each. [default: the model as it is]"
    ),
)
set_values = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a value of the machine, such as dram.bytes_per_cycle=32; repeatable.",
)
fidelity = click.option(
    "--fidelity",
    type=OneOf(*FIDELITIES, what="fidelity"),
    default="row",
    show_default=True,
    help="Densities and closed forms, the real mask, or every processing element stepped.",
)
_MAPPER = (
    click.option(
        "--mapper",
        type=OneOf("heuristic", "search", "exhaustive", what="mapper"),
        default="heuristic",
        show_default=True,
        help="The machine's own mapping, the best of some simulated ones, or of all of them.",
    ),
    click.option(
        "--objective",
        type=OneOf("latency", "energy", "edp", what="objective"),
        default="latency",
        show_default=True,
        help="What a mapper minimises, operator by operator.",
    ),
    click.option(
        "--budget",
        type=Count(1, 100_000),
        default=16,
        show_default=True,
        metavar="N",
        help="Mappings that --mapper search simulates for an operator.",
    ),
    click.option(
        "--keep-on-chip",
        is_flag=True,
        help="Let feature maps stay in scratchpads between operators where the network gains.",
    ),
    click.option(
        "--fuse",
        is_flag=True,
        help="Let vector lanes work on each tile of a product before it is stored, where it pays.",
    ),
    click.option(
        "--place",
        is_flag=True,
        help="Choose for each operator the core that runs it, or all; else all run every one.",
    ),
)


def mapper_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a search for mappings to a command."""
    for option in reversed(_MAPPER):
        command = option(command)
    return command


seed = click.option(
    "--seed",
    type=Count(0, 2**63 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Decides sampled masks.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on standard output, nothing else."
)
quiet = click.option("--quiet", "-q", is_flag=True, help="No progress bar, no remarks.")
output_folder = click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write a report (index.html) and the results (results.json) there.",
)


@dataclass(frozen=True, slots=True)
class Size:
    """What of a workload is run; None where the workload decides."""

    phase: str | None = None
    batch: int = 1
    seq: int | None = None
    context: int | None = None
    image: int | None = None
    dtype: str | None = None
    optimizer: str | None = None


_SIZE = {
    "phase": click.option(
        "--phase",
        type=OneOf(*PHASES, what="phase"),
        help="What is run. [default: inference, or what the trace holds]",
    ),
    "batch": click.option(
        "--batch",
        type=Count(1, 1 << 31),
        default=1,
        show_default=True,
        metavar="N",
        help="Inputs at once.",
    ),
    "seq": click.option(
        "--seq", type=Count(1, 1 << 31), metavar="N", help="New tokens of each input."
    ),
    "context": click.option(
        "--context", type=Count(0, 1 << 31), metavar="N", help="Tokens already in the cache."
    ),
    "image": click.option(
        "--image", type=Count(1, 1 << 31), metavar="N", help="Edge of a square image."
    ),
    "dtype": click.option(
        "--dtype", metavar="NAME", help="Data type of the tensors. [default: fp16]"
    ),
    "optimizer": click.option(
        "--optimizer", metavar="NAME", help="Of a training step. [default: sgd_momentum]"
    ),
}


def size_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of Size to a command, which receives them as `size`."""
    return _sized(command, _SIZE)


def size_options_without_batch(command: Callable[..., None]) -> Callable[..., None]:
    """Those of a command that takes several batches in a way of its own."""
    return _sized(command, {name: option for name, option in _SIZE.items() if name != "batch"})


def _sized(
    command: Callable[..., None],
    options: Mapping[str, Callable[[Callable[..., None]], Callable[..., None]]],
) -> Callable[..., None]:
    @wraps(command)
    def collected(**given: Any) -> None:
        command(size=Size(**{name: given.pop(name) for name in options}), **given)

    for option in reversed([*options.values()]):
        collected = option(collected)
    return collected


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a pattern goes: layers by glob, products by training method."""

    where: tuple[str, ...] = ()
    method: str | None = None


_PLACEMENT = (
    click.option(
        "--where",
        multiple=True,
        metavar="GLOB[=PATTERN]",
        help=(
            "Layers that become sparse, such as 'layer4.*', or 'layer4.*=1:8' with a pattern of "
            "their own; repeatable. [default: all but the first and the last]"
        ),
    ),
    click.option(
        "--method",
        metavar="NAME",
        help="Training method, which says which products are sparse: sr_ste, sdgp, bdwp, ...",
    ),
)


def placement_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of Placement to a command, which receives them as `placement`."""

    @wraps(command)
    def collected(where: tuple[str, ...], method: str | None, **given: Any) -> None:
        command(placement=Placement(where, method), **given)

    for option in reversed(_PLACEMENT):
        collected = option(collected)
    return collected
