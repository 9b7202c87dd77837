"""How far a simulated speed-up of 2:4 over dense can be trusted: `gpu_trust.yaml`.

`python -m codesign.measure.gpu_trust DIR` writes the file anew from the measured products of DIR.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from codesign.arch.gpu_kernels import Float64
from codesign.config import Spec, load_spec
from codesign.measure.compare import BUCKETS
from codesign.measure.gpu_decisions import TWINS, both_ways, speedups
from codesign.measure.gpu_scores import Scored, scored_groups
from codesign.measure.validate_gpu import transferred

FILE = Path(__file__).with_name("gpu_trust.yaml")
_DIGITS = 3
_TAIL = 0.1
_Kind = tuple[str, str, str]
"""Machine, data type and pattern."""
_HEAD = """\
# How far simulated speed-ups of a pattern over dense are from measured ones (mean error; least and
# most: eight in ten of measured / simulated lie between) and how often the faster of the two is
# named. Written by `python -m codesign.measure.gpu_trust DIR`, over products that no constant of
# the board was fitted on; without machine: boards treated as unknown.
standings:
"""


class Standing(Spec):
    """Measured products of one board and type, with so many rows of A."""

    machine: str = ""
    """Empty: all calibrated boards, each with constants of the others."""
    dtype: str
    pattern: str
    least_rows: int = Field(ge=1)
    most_rows: int = Field(ge=1)
    products: int = Field(ge=1)
    right: int = Field(ge=0, description="products whose faster way was named")
    error: float = Field(ge=0, description="mean of |simulated / measured speed-up - 1|")
    least: float = Field(gt=0, description="measured over simulated: a tenth is below")
    most: float = Field(gt=0, description="measured over simulated: a tenth is above")


class Standings(Spec):
    """The content of `gpu_trust.yaml`, by rising rows of A within a board and type."""

    standings: tuple[Standing, ...]

    def of(self, machine: str, dtype: str, pattern: str) -> tuple[Standing, ...]:
        """Those of a board (empty: an unknown one), type and pattern.

        Where only the other of two types that run alike was measured, those of that one.
        """
        for name in (dtype, *(twin for twin in TWINS if dtype in TWINS and twin != dtype)):
            key = (machine, name, pattern)
            found = tuple(s for s in self.standings if (s.machine, s.dtype, s.pattern) == key)
            if found:
                return found
        return ()


@cache
def standings() -> Standings:
    """The file that ships with the package."""
    return load_spec(Standings, FILE)


def standings_of(scored: Sequence[Scored]) -> Standings:
    """What groups of measured rows say of their boards, and of these as if they were unknown."""
    known = _speedups([one for one in scored if one.calibrated])
    lent = _speedups(list(transferred(scored)))
    types = dict.fromkeys((dtype, pattern) for _, dtype, pattern in lent)
    pooled = {
        ("", *kind): np.concatenate([found for key, found in lent.items() if key[1:] == kind], 1)
        for kind in types
    }
    return Standings(
        standings=tuple(
            standing
            for key, found in [*sorted(known.items()), *sorted(pooled.items())]
            for standing in _by_rows(key, found)
        )
    )


def _speedups(scored: Sequence[Scored]) -> dict[_Kind, Float64]:
    """Rows of A, simulated and measured speed-up of every product, by board, type and pattern."""
    found: dict[_Kind, list[Float64]] = {}
    for dense, sparse, at_dense, at_sparse in both_ways(scored):
        key = (dense.machine.spec.name, dense.rows.dtype, sparse.rows.pattern)
        rows = dense.rows.sizes[at_dense, 1].astype(np.float64)
        simulated, measured = speedups(dense, sparse, at_dense, at_sparse)
        found.setdefault(key, []).append(np.stack([rows, simulated, measured]))
    return {key: np.concatenate(parts, 1) for key, parts in found.items()}


def _by_rows(key: _Kind, found: Float64) -> Iterator[Standing]:
    machine, dtype, pattern = key
    for low, high in BUCKETS:
        rows, simulated, measured = found[:, (low <= found[0]) & (found[0] <= high)]
        if len(rows):
            yield Standing(
                machine=machine, dtype=dtype, pattern=pattern, least_rows=int(rows.min()),
                most_rows=int(rows.max()), products=len(rows),
                right=int(((simulated > 1) == (measured > 1)).sum()),
                error=_short(np.abs(simulated / measured - 1).mean()),
                least=_short(np.quantile(measured / simulated, _TAIL)),
                most=_short(np.quantile(measured / simulated, 1 - _TAIL)),
            )  # fmt: skip


def _short(value: np.floating[Any]) -> float:
    return float(f"{value:.{_DIGITS}g}")


def as_yaml(found: Standings) -> str:
    """The text of the file, one line for each standing."""
    lines = []
    for one in found.standings:
        cells = ", ".join(f"{key}: {_scalar(value)}" for key, value in one.model_dump().items())
        lines.append(f"  - {{{cells}}}\n")
    return _HEAD + "".join(lines)


def _scalar(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def main(data: Path) -> None:
    """Compare with the measured products of a folder, and write the file beside this module."""
    FILE.write_text(as_yaml(standings_of(scored_groups(data)[0])), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
