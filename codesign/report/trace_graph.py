"""The graph of a trace as one SVG; blocks of equal layers are drawn once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from codesign.config import CodesignError
from codesign.report.quantities import with_unit
from codesign.report.svg import PALETTE
from codesign.trace.op import Kind, Op, Trace

MAX_NODES = 2000
_WIDTH_PX, _HEIGHT_PX, _GAP_X_PX, _GAP_Y_PX, _MARGIN_PX = 230, 40, 24, 26, 20
_COLOURS = {
    Kind.GEMM: 0, Kind.CONV: 0, Kind.ATTENTION: 1, Kind.EMBEDDING: 3, Kind.NORM: 2,
    Kind.SOFTMAX: 4, Kind.ELEMENTWISE: 4, Kind.REDUCTION: 4, Kind.UPDATE: 7,
}  # fmt: skip


@dataclass
class _Node:
    op: Op
    deps: list[str] = field(default_factory=list)
    times: int = 1
    row: int = 0
    column: int = 0


def trace_graph(trace: Trace) -> str:
    """An SVG document: operators from top to bottom, an arrow for each dependency.

    Numbered layers that repeat the layer before them are drawn once, with how often they run.
    Raises CodesignError for graphs of more than MAX_NODES operators after that.
    """
    nodes = _collapsed(trace)
    if len(nodes) > MAX_NODES:
        raise CodesignError(
            f"{trace.name}: {len(nodes)} operators are too many to draw, {MAX_NODES} at most"
        )
    for node in nodes.values():
        node.row = 1 + max((nodes[dep].row for dep in node.deps), default=-1)
    taken: dict[int, int] = defaultdict(int)
    for node in nodes.values():
        node.column = taken[node.row]
        taken[node.row] += 1
    columns, rows = max(taken.values()), max(taken) + 1
    width = 2 * _MARGIN_PX + columns * (_WIDTH_PX + _GAP_X_PX)
    height = 2 * _MARGIN_PX + rows * (_HEIGHT_PX + _GAP_Y_PX) - _GAP_Y_PX
    edges = [_edge(nodes[dep], node) for node in nodes.values() for dep in node.deps]
    boxes = [_box(node) for node in nodes.values()]
    title = escape(f"{trace.name}: {len(trace)} operators, {with_unit(trace.macs, 'MAC', 4)}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">'
        f"<title>{title}</title>"
        '<defs><marker id="a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        f'<g fill="none" stroke="#57606a" marker-end="url(#a)">{"".join(edges)}</g>'
        f"{''.join(boxes)}</svg>\n"
    )


def _collapsed(trace: Trace) -> dict[str, _Node]:
    blocks: dict[tuple[str, str], dict[int, list[Op]]] = defaultdict(lambda: defaultdict(list))
    place: dict[str, tuple[str, str, int]] = {}
    for op in trace:
        parts = op.name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdecimal()), None)
        if number is not None:
            head, index = ".".join(parts[:number]), int(parts[number])
            blocks[head, op.phase][index].append(op)
            place[op.name] = (head, op.phase, index)
    first_of: dict[tuple[str, str, int], int] = {}
    times: dict[tuple[str, str, int], int] = defaultdict(int)
    for (head, phase), numbered in blocks.items():
        known: dict[object, int] = {}
        for index, ops in sorted(numbered.items()):
            first = known.setdefault(_likeness(ops, head, index), index)
            first_of[head, phase, index] = first
            times[head, phase, first] += 1
    same: dict[str, str] = {}
    nodes: dict[str, _Node] = {}
    for op in trace:
        at = place.get(op.name)
        if at is not None and first_of[at] != at[2]:
            head, _, index = at
            same[op.name] = op.name.replace(f"{head}.{index}.", f"{head}.{first_of[at]}.", 1)
            continue
        deps = dict.fromkeys(same.get(dep, dep) for dep in op.deps)
        node = _Node(op, [dep for dep in deps if dep in nodes])
        node.times = times[at] if at is not None else 1
        nodes[op.name] = node
    return nodes


def _likeness(ops: Sequence[Op], head: str, index: int) -> object:
    own = f"{head}.{index}."
    return tuple((op.name.removeprefix(own), *op.shape_key) for op in ops)


def _at(node: _Node) -> tuple[int, int]:
    return (
        _MARGIN_PX + node.column * (_WIDTH_PX + _GAP_X_PX),
        _MARGIN_PX + node.row * (_HEIGHT_PX + _GAP_Y_PX),
    )


def _edge(source: _Node, target: _Node) -> str:
    """Straight down to the next row; past other rows along the right side of the boxes."""
    (x0, y0), (x1, y1) = _at(source), _at(target)
    if target.row - source.row == 1 or source.column != target.column:
        x0, y0, x1 = x0 + _WIDTH_PX // 2, y0 + _HEIGHT_PX, x1 + _WIDTH_PX // 2
        return f'<path d="M{x0} {y0}C{x0} {y0 + _GAP_Y_PX} {x1} {y1 - _GAP_Y_PX} {x1} {y1}"/>'
    x0, y0, y1 = x0 + _WIDTH_PX, y0 + _HEIGHT_PX // 2, y1 + _HEIGHT_PX // 2
    side = x0 + _GAP_X_PX - 4
    return (
        f'<path d="M{x0} {y0}C{side} {y0} {side} {y0} {side} {y0 + 12}V{y1 - 12}'
        f'C{side} {y1} {side} {y1} {x0} {y1}"/>'
    )


def _box(node: _Node) -> str:
    x, y = _at(node)
    op = node.op
    name = op.name if len(op.name) <= 36 else "…" + op.name[-35:]
    size = f"{op.m}×{op.n}×{op.k}" if op.is_matmul else f"{op.function} {op.elements:,}"
    if op.groups > 1:
        size = f"{op.groups} × {size}"
    if not op.b_pattern.is_dense:
        size += f" · {op.b_pattern}"
    if node.times > 1:
        size += f" · {node.times} layers"
    colour = PALETTE[_COLOURS[op.kind]]
    return (
        f"<g><title>{escape(op.name)} ({op.kind}, {op.phase})</title>"
        f'<path d="M{x} {y}h{_WIDTH_PX}v{_HEIGHT_PX}h-{_WIDTH_PX}z" fill="#ffffff"/>'
        f'<rect x="{x}" y="{y}" width="{_WIDTH_PX}" height="{_HEIGHT_PX}" rx="4" '
        f'fill="{colour}" fill-opacity=".25" stroke="{colour}"/>'
        f'<text x="{x + 8}" y="{y + 16}" font-weight="600">{escape(name)}</text>'
        f'<text x="{x + 8}" y="{y + 31}" fill="#57606a">{escape(size)}</text></g>'
    )
