"""Boards treated as unknown: what the rows of other boards say of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from statistics import median

from codesign.arch.tensor_core import TensorCore
from codesign.config import Spec, load_spec
from codesign.measure.gpu_rows import Protocol, Rows, protocols
from codesign.measure.gpu_settings import Part


class Lent(Spec):
    """Constants fitted without one row of the board that they are lent to."""

    exponent: float
    sparse_factor: float
    mac_pj_at_1ghz: float
    bursts: dict[str, float]
    kernels: dict[Part, dict[str, float]]


class Transfers(Spec):
    """The content of `gpu_transfer.yaml`: for each calibrated board what the others lend it."""

    boards: dict[str, Lent]


@cache
def transfers() -> Transfers:
    """The constants that ship with the package."""
    return load_spec(Transfers, Path(__file__).with_name("gpu_transfer.yaml"))


def unknown(machine: TensorCore, lent: Lent, part: Part) -> TensorCore:
    """A board as if only its data sheet were known: nothing fitted to its own rows is left."""
    power = machine.spec.power.model_copy(
        update={
            name: getattr(lent, name) for name in ("exponent", "sparse_factor", "mac_pj_at_1ghz")
        }
    )
    kernels = getattr(machine.spec, part).model_copy(update={**lent.kernels[part], "sustained": {}})
    return TensorCore(machine.spec.model_copy(update={part: kernels, "power": power}))


def lent_protocol(rows: Rows, lent: Lent) -> Protocol:
    """How the origin timed its other boards, with the offset of this board's own timer.

    Clocks (`rate`, `memory`) are those of single boards and are not lent. An origin that
    measured one board alone lends its protocol whole.
    """
    own = protocols().find(rows)
    others = [
        p
        for p in protocols().protocols
        if (p.origin, p.library, p.cutlass) == (own.origin, own.library, own.cutlass)
        and p.gpu not in ("", own.gpu)
    ]
    burst = lent.bursts.get(rows.library, own.burst)
    if not others:
        return own.model_copy(update={"burst": burst})
    warm = median(p.warm for p in others)
    return own.model_copy(update={"warm": warm, "burst": burst, "rate": 1.0, "memory": 1.0})
