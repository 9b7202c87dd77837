"""Topology files of SCALE-Sim: convolutions or products, one in a row."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign.config import CodesignError
from codesign.sparsity.pattern import NM, parse_pattern
from codesign.trace.network import Network, conv_op
from codesign.trace.op import Kind, Op, Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.spec import Request, WorkloadSpec
from codesign.trace.window import Conv
from codesign.trace.workload import build_trace

_MAX_LAYERS = 100_000
_MAX_SIZE = 1 << 31
_CONV_FIELDS = (
    "ifmap height", "ifmap width", "filter height", "filter width", "channels", "filters", "stride",
)  # fmt: skip
_GEMM_FIELDS = ("M", "N", "K")


@dataclass(frozen=True, slots=True)
class Row:
    """One line: the sizes of a convolution (7) or of a product (3), and its N:M weights or ""."""

    name: str
    sizes: tuple[int, ...]
    sparsity: str = ""


class _Topology(WorkloadSpec):
    """Layers in a chain."""

    rows: tuple[Any, ...]

    def build(self, request: Request) -> Network:
        self.resolve(request)
        net = request.network()
        before: tuple[str, ...] = ()
        for row in self.rows:
            net.ops.append(_op(net, row, request.batch, before))
            before = (row.name,)
        return net


def load_topology(
    path: Path,
    *,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = None,
) -> Trace:
    """The trace of a topology file, its layers in a chain.

    Rows are `name, ifmap h, ifmap w, filter h, filter w, channels, filters, stride` without
    padding, or `name, M, N, K` (A is MxK); a column `N:M` behind them prunes the weights. As there,
    a last window may reach beyond the map. A depthwise layer is written there as one filter over
    its channels, and stays that. Raises CodesignError, with the line, for anything else.
    """
    rows = read_topology(path)
    spec = _Topology(name=path.stem, rows=rows)
    trace = build_trace(spec, f"scalesim:{path}", phase, batch, seq, context, optimizer, dtype)
    patterns = {row.name: row.sparsity for row in rows if row.sparsity}
    return sparsify(trace, patterns) if patterns else trace


def read_topology(path: Path) -> tuple[Row, ...]:
    """The rows of a topology file, names made unique by `#2`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise CodesignError(f"{path}: {error.strerror or error}") from None
    except ValueError:
        raise CodesignError(f"{path}: this is no text") from None
    if len(lines) > _MAX_LAYERS:
        raise CodesignError(f"{path}: more than {_MAX_LAYERS} layers")
    rows: list[Row] = []
    seen: dict[str, int] = {}
    for number, cells in enumerate(csv.reader(lines), 1):
        fields = [cell.strip() for cell in cells]
        while fields and not fields[-1]:
            fields.pop()
        if not fields or (number == 1 and not any(cell.isdecimal() for cell in fields[1:])):
            continue
        row = _row(f"{path}: line {number}", fields)
        seen[row.name] = seen.get(row.name, 0) + 1
        if seen[row.name] > 1:
            row = Row(f"{row.name}#{seen[row.name]}", row.sizes, row.sparsity)
        rows.append(row)
    if not rows:
        raise CodesignError(f"{path}: no layers")
    return tuple(rows)


def _row(where: str, fields: list[str]) -> Row:
    name, *values = fields
    sparsity = ""
    if values and re.fullmatch(r"\d+\s*:\s*\d+", values[-1]):
        pattern = parse_pattern(values.pop())
        sparsity = "" if isinstance(pattern, NM) and pattern.is_dense else str(pattern)
    titles = {3: _GEMM_FIELDS, 7: _CONV_FIELDS}.get(len(values))
    if titles is None:
        raise CodesignError(
            f"{where}: {len(values)} numbers; a convolution has 7 ({', '.join(_CONV_FIELDS)}), "
            f"a product 3 ({', '.join(_GEMM_FIELDS)})"
        )
    for title, value in zip(titles, values, strict=True):
        if not re.fullmatch(r"[0-9]{1,10}", value) or not 1 <= int(value) <= _MAX_SIZE:
            raise CodesignError(f"{where}: {title} is a whole number from 1, got {value[:40]!r}")
    sizes = tuple(map(int, values))
    if len(sizes) == 7 and (sizes[2] > sizes[0] or sizes[3] > sizes[1]):
        raise CodesignError(f"{where}: the filter is larger than the map")
    return Row(name or "layer", sizes, sparsity)


def _op(net: Network, row: Row, batch: int, deps: tuple[str, ...]) -> Op:
    weight = f"{row.name}.weight"
    if len(row.sizes) == 3:
        m, n, k = row.sizes
        net.parameters[weight] = n * k
        return Op(
            name=row.name, kind=Kind.GEMM, phase=net.phase, layer=row.name, m=m * batch, n=n, k=k,
            weight=weight, a_dtype=net.dtype, b_dtype=net.dtype, c_dtype=net.dtype, deps=deps,
        )  # fmt: skip
    height, width, kernel_h, kernel_w, channels, filters, stride = row.sizes
    net.parameters[weight] = kernel_h * kernel_w * channels * filters
    window = Conv(
        batch=batch, in_h=height, in_w=width, in_channels=channels, out_channels=filters,
        kernel_h=kernel_h, kernel_w=kernel_w, stride_h=stride, stride_w=stride,
        out_h=-(-(height - kernel_h + stride) // stride),
        out_w=-(-(width - kernel_w + stride) // stride),
    )  # fmt: skip
    return conv_op(row.name, window, weight=weight, phase=net.phase, deps=deps, dtype=net.dtype)
