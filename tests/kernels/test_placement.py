"""Does the compiled rule of thumb place tasks as its definition says?"""

from __future__ import annotations

import numpy as np
import pytest

from codesign.kernels.placement import CUT_ALL, EARLIEST, FRUGAL, finish_by_rule
from tests.reference import placement_twin


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(
    ("rule", "name"), [(CUT_ALL, "cut_all"), (EARLIEST, "earliest"), (FRUGAL, "frugal")]
)
def test_equals_its_twin(rule: int, name: str, seed: int) -> None:
    dice = np.random.default_rng(seed)
    size, cores, kinds = int(dice.integers(1, 30)), int(dice.integers(1, 5)), 2
    at = int(dice.integers(0, size))
    unit = dice.integers(0, kinds, size)
    cycles = dice.integers(1, 20, (size, 2)).astype(float)
    cycles[dice.random(size) < 0.2, 1] = np.inf
    link_cycles = dice.integers(0, 12, (size, 2)) * (dice.random((size, 2)) < 0.7)
    joules = dice.integers(0, 9, (size, 2)).astype(float)
    deps = [sorted(set(dice.integers(0, i, 2).tolist())) if i else [] for i in range(size)]
    free = dice.integers(0, 30, (cores, kinds)).astype(float)
    ends = np.where(np.arange(size) < at, dice.integers(0, 40, size), 0).astype(float)
    wanted = placement_twin.finish_by_rule(
        name, at, unit.tolist(), cycles.tolist(), link_cycles.tolist(), joules.tolist(), deps,
        free.tolist(), 5.0, ends.tolist(),
    )  # fmt: skip
    found = np.full(size, -9)
    targets = [dep for own in deps for dep in own]
    latest, spent = finish_by_rule(
        rule, at, unit, cycles, link_cycles.astype(float), joules,
        np.cumsum([0, *map(len, deps)]), np.array(targets, dtype=np.int64), free, 5.0, ends,
        found,
    )  # fmt: skip
    assert (found[at:].tolist(), ends.tolist(), latest, spent) == wanted
