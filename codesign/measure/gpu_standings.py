"""How far a simulated speed-up of 2:4 over dense can be trusted: `gpu_trust.yaml`.

`measure.gpu_trust` writes the file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field

from codesign.config import Spec, load_spec

FILE = Path(__file__).with_name("gpu_trust.yaml")
TWINS = ("bf16", "fp16")
"""Types that run at the same rate and move the same bytes."""
BUCKETS = ((1, 16), (17, 128), (129, 1024), (1025, 1 << 40))
"""Batch sizes (rows of A) that are told apart."""


def bucket_name(low: int, high: int) -> str:
    """A range of batch sizes in words.

    >>> bucket_name(17, 128), bucket_name(1025, 1 << 40)
    ('m 17 to 128', 'm over 1024')
    """
    return f"m over {low - 1}" if high == BUCKETS[-1][1] else f"m {low} to {high}"


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
