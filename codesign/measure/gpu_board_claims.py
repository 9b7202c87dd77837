"""Rates of dense products that others published for boards, simulated against published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator

from codesign.arch.tensor_core import TensorCore
from codesign.config import CodesignError, Spec, load_spec
from codesign.measure.gpu_rows import (
    Protocol,
    Protocols,
    Rows,
    machine_name,
    predict,
    protocols,
)
from codesign.measure.gpu_scores import is_calibrated, tensor_core
from codesign.measure.gpu_settings import settings
from codesign.measure.gpu_standings import BUCKETS, bucket_name
from codesign.measure.suite import Group, TableRow, compare
from codesign.units import DTypeName

BOUND = 0.15
"""Mean error that a board may have of which nothing is calibrated."""
_MFLOP_PER_US = 1e6


class ClaimSource(Spec):
    """Where rates were published, and how they were timed."""

    address: str
    timing: str
    origin: str = ""
    """The measured set whose library and timer it is taken to share; empty: none."""
    library: str = "cuBLASLt"
    warm: float | None = Field(default=None, ge=0, description="as Protocol.warm; None: of others")
    offset_us: float | None = Field(default=None, ge=0, description="as Protocol.offset_us")


class BoardClaim(Spec):
    """Published TFLOPS of dense products of one type on one board."""

    gpu: str
    dtype: DTypeName
    source: str
    at: str = ""
    """Where in the source."""
    squares: tuple[int, ...] = ()
    shapes: tuple[tuple[int, int, int], ...] = ()
    weights: tuple[int, int] | None = None
    """n and k, for `batches` of rows of A."""
    batches: tuple[int, ...] = ()
    tflops: tuple[float, ...] = ()
    best_tflops: float | None = Field(default=None, gt=0)
    beside: str = ""

    @model_validator(mode="after")
    def _one_rate_for_each_product(self) -> BoardClaim:
        kinds = (self.squares, self.shapes, self.batches)
        if sum(bool(kind) for kind in kinds) != 1 or bool(self.batches) != bool(self.weights):
            raise ValueError("a claim has squares, shapes, or weights with batches")
        if bool(self.tflops) == (self.best_tflops is not None):
            raise ValueError("a claim has tflops or best_tflops")
        if self.tflops and len(self.tflops) != len(self.sizes):
            raise ValueError(f"{len(self.sizes)} products with {len(self.tflops)} rates")
        return self

    @property
    def sizes(self) -> list[tuple[int, int, int, int]]:
        """(1, m, n, k) of each product."""
        if self.weights is not None:
            return [(1, m, *self.weights) for m in self.batches]
        return [(1, s, s, s) for s in self.squares] or [(1, *shape) for shape in self.shapes]


class BoardClaims(Spec):
    """The content of `gpu_board_claims.yaml`."""

    sources: dict[str, ClaimSource]
    claims: tuple[BoardClaim, ...]

    @model_validator(mode="after")
    def _sources_are_named(self) -> BoardClaims:
        unknown = sorted({one.source for one in self.claims} - set(self.sources))
        if unknown:
            raise ValueError(f"no source {unknown[0]!r}")
        return self


@cache
def board_claims() -> BoardClaims:
    """The claims that ship with the package."""
    return load_spec(BoardClaims, Path(__file__).with_name("gpu_board_claims.yaml"))


def board(claim: BoardClaim) -> TensorCore:
    """The machine of a claim's board; CodesignError where none is shipped."""
    name = machine_name(claim.gpu)
    machine = None if name is None else tensor_core(name)
    if machine is None:
        raise CodesignError(f"no GPU is shipped for the board {claim.gpu!r}")
    return machine


def rows_of(claim: BoardClaim) -> Rows:
    """The products of a claim as rows of a data set; the times are those of its rates.

    Of products that share one rate, the best, each has the time that this rate would give it.
    """
    sizes = np.array(claim.sizes, dtype=np.int64)
    rates = np.array(claim.tflops or [claim.best_tflops] * len(sizes), dtype=np.float64)
    source = board_claims().sources[claim.source]
    return Rows(
        source.origin or claim.source, claim.gpu, claim.dtype, "dense", source.library, sizes,
        2.0 * sizes.prod(axis=1) / _MFLOP_PER_US / rates,
    )  # fmt: skip


def protocol_of(claim: BoardClaim, known: Protocols | None = None) -> Protocol:
    """How a claim's source timed: as an unknown origin's rows are scored, but for what it says."""
    source = board_claims().sources[claim.source]
    stated = {
        name: value
        for name in ("warm", "offset_us")
        if (value := getattr(source, name)) is not None
    }
    return (known or protocols()).find(rows_of(claim)).model_copy(update=stated)


def pairs_of(
    claim: BoardClaim, machine: TensorCore, protocol: Protocol
) -> list[tuple[float, float]]:
    """(simulated, published) TFLOPS: for each product, or one for the quickest of them."""
    rows = rows_of(claim)
    us = predict(machine, rows, protocol)
    found = (2.0 * rows.sizes.prod(axis=1) / _MFLOP_PER_US / us).tolist()
    if claim.best_tflops is not None:
        return [(max(found), claim.best_tflops)]
    return list(zip(found, claim.tflops, strict=True))


def role_of(claim: BoardClaim) -> str:
    """What the package knows of a claim's board: `calibrated`, `fitted` or `unseen`.

    `fitted` claims gave the energy of their process, and are no test of it.
    """
    if is_calibrated(board(claim), rows_of(claim)):
        return "calibrated"
    plan = settings().claimed_processes.values()
    return "fitted" if any(one.has(claim.gpu, claim.source) for one in plan) else "unseen"


_SECTIONS = {
    "unseen": "TFLOPS of boards that nothing of theirs is fitted on",
    "fitted": "TFLOPS that gave the energy of a process",
    "calibrated": "TFLOPS of calibrated boards, of the same sources",
}


def board_scores() -> tuple[list[Group], list[TableRow]]:
    """Every claim simulated: a group for each board, a row for each product."""
    groups: list[Group] = []
    rows: list[TableRow] = []
    for role, section in _SECTIONS.items():
        found = [
            (one, pairs_of(one, board(one), protocol_of(one)))
            for one in board_claims().claims
            if role_of(one) == role
        ]
        groups += _groups(found, role)
        rows += _rows(found, section)
        if role == "unseen":
            rows += _mean_rows(found)
    return groups, rows


Scored = tuple[BoardClaim, list[tuple[float, float]]]


def _groups(found: list[Scored], role: str) -> Iterator[Group]:
    counted = [one for one in found if not one[0].beside]
    for gpu in dict.fromkeys(claim.gpu for claim, _ in counted):
        own = [one for one in counted if one[0].gpu == gpu]
        notes = [
            f"{name} {_mean(p for claim, pairs in own if claim.source == name for p in pairs):.1%}"
            for name in dict.fromkeys(claim.source for claim, _ in own)
        ]
        yield compare(
            f"{gpu}, {role}",
            [pair for _, pairs in own for pair in pairs],
            within=BOUND if role == "unseen" else None,
            note="; ".join(notes),
        )


def _mean_rows(found: list[Scored]) -> Iterator[TableRow]:
    """Mean error by board, type and rows of A, of those with more than one range of rows."""
    sorted_pairs: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for claim, pairs in found:
        if claim.beside or claim.best_tflops is not None:
            continue
        own = sorted_pairs.setdefault((claim.gpu, claim.dtype), {})
        for (_, m, _, _), pair in zip(claim.sizes, pairs, strict=True):
            bucket = next(one for one in BUCKETS if m <= one[1])
            own.setdefault(bucket_name(*bucket), []).append(pair)
    for (gpu, dtype), buckets in sorted_pairs.items():
        for name in (bucket_name(*one) for one in BUCKETS):
            if len(buckets) > 1 and name in buckets:
                yield {
                    "section": "mean error of boards that nothing of theirs is fitted on",
                    "gpu": gpu,
                    "dtype": dtype,
                    "rows of A": name,
                    "products": len(buckets[name]),
                    "bias": float(np.mean([ours / theirs - 1.0 for ours, theirs in buckets[name]])),
                    "mean error": _mean(buckets[name]),
                }


def _mean(pairs: Iterable[tuple[float, float]]) -> float:
    return float(np.mean([abs(ours / theirs - 1.0) for ours, theirs in pairs]))


def _rows(found: list[Scored], section: str) -> Iterator[TableRow]:
    for claim, pairs in found:
        source = board_claims().sources[claim.source]
        if claim.best_tflops is None:
            names = ["x".join(map(str, size[1:])) for size in claim.sizes]
        else:
            names = [f"best of {len(claim.sizes)}"]
        for name, (ours, theirs) in zip(names, pairs, strict=True):
            yield {
                "section": section,
                "gpu": claim.gpu,
                "dtype": claim.dtype,
                "product": name,
                "simulated": ours,
                "published": theirs,
                "error": ours / theirs - 1.0,
                "source": f"{source.address}{', ' if claim.at else ''}{claim.at}",
                "note": claim.beside or source.timing,
            }
