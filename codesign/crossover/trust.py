"""How far a speed-up of one machine, data type and pattern can be trusted, by our validation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from codesign.arch import list_archs, load_arch
from codesign.arch.base import AnyMachine
from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_standings import Standing, standings
from codesign.report.quantities import share
from codesign.report.validation import Compared, about
from codesign.trace.op import Trace

EXACT = "difference 0"


@dataclass(frozen=True)
class Trust:
    """What measurements say of a machine's speed-ups; without `standings` no error is known."""

    machine: str
    standings: tuple[Standing, ...]
    """By rising rows of A; of the machine itself, else of boards treated as unknown."""
    calibrated: bool
    remark: str = ""
    """What is to be said of a machine that is not calibrated, or not by such products."""

    def standing(self, rows: int) -> Standing | None:
        """What was measured of products with about so many rows of A: the group that holds them,
        or the next larger one, or the largest.
        """
        fitting = [one for one in self.standings if rows <= one.most_rows]
        return fitting[0] if fitting else self.standings[-1] if self.standings else None

    def spread(self, rows: int) -> tuple[float, float]:
        """Between which factors of the simulated speed-up eight in ten measured ones lie."""
        found = self.standing(rows)
        return (1.0, 1.0) if found is None else (found.least, found.most)


def trust_of(machine: AnyMachine, sparse: Trace) -> Trust:
    """The trust in speed-ups of a sparse trace on a machine.

    A machine that differs from the shipped file of its name is one of which nothing was measured.
    """
    name = machine.spec.name
    if not isinstance(machine, TensorCore):
        return Trust(name, (), False, _published(about([machine.spec.machine])))
    products = [op for op in sparse if op.is_matmul and not op.b_pattern.is_dense]
    kinds = {(op.a_dtype, str(op.b_pattern)) for op in products if machine.exploits(op)}
    if len(kinds) != 1:
        dense = products and not kinds
        return Trust(
            name, (), False, "runs it dense" if dense else "no measured product is like it"
        )
    ((dtype, pattern),) = kinds
    shipped = is_shipped(machine)
    own = standings().of(name, dtype, pattern) if shipped else ()
    lent = standings().of("", dtype, pattern)
    if not own and not lent:
        return Trust(name, (), False, f"no product of {dtype} in {pattern} was measured")
    measured = (own or lent)[0].dtype
    alike = "" if measured == dtype else f"{dtype} as {measured}, which runs alike"
    if own:
        return Trust(name, own, True, alike)
    why = f"not calibrated in {dtype}" if shipped else "not the shipped file, so not calibrated"
    unknown = f"{why}: errors are of boards treated as unknown"
    return Trust(name, lent, False, "; ".join(text for text in (unknown, alike) if text))


def is_shipped(machine: AnyMachine) -> bool:
    """Whether a machine is the shipped file of its name, unchanged."""
    spec = machine.spec
    shipped = {name for name, _ in list_archs()}
    return spec.name in shipped and load_arch(spec.name).spec.fingerprint == spec.fingerprint


def _published(found: Iterable[Compared]) -> str:
    """What the suites about a family say, those with a bound first."""
    inexact = [one for one in found if one.bound != EXACT and one.mean_error is not None]
    stated = [one for one in inexact if one.bound is not None] or inexact
    if not stated:
        return "nothing published or measured is compared with it"
    errors = sorted(one.mean_error or 0.0 for one in stated)
    suites = ", ".join(dict.fromkeys(one.suite for one in stated))
    least, most = share(errors[0]), share(errors[-1])
    between = most if least == most else f"{least.removesuffix(' %')} to {most}"
    return f"no single product was measured; what is published is met within {between} ({suites})"
