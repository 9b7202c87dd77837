"""Energy of a MAC in processes of which no board is calibrated, from published rates of some."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from codesign.arch.tensor_core import TensorCore
from codesign.measure.gpu_board_claims import BoardClaim, board, board_claims, pairs_of, protocol_of
from codesign.measure.gpu_fit import Fit, least, with_kernels
from codesign.measure.gpu_power import PowerLaw
from codesign.measure.gpu_rows import Float64, Protocols
from codesign.measure.gpu_settings import ClaimedProcess, Part, settings

Families = Mapping[tuple[bool, Part], Fit]


def fit_claimed(law: PowerLaw, families: Families, known: Protocols) -> PowerLaw:
    """The law with an energy for each process of `claimed_processes`; the rest stays as it is.

    Least mean over the claims of the mean |log error| of their large products, on boards with the
    kernels of their family.
    """
    found = {
        name: fit_energy(name, one, law, families, known)
        for name, one in settings().claimed_processes.items()
    }
    return replace(law, mac_pj={**law.mac_pj, **found})


def fit_energy(
    name: str, process: ClaimedProcess, law: PowerLaw, families: Families, known: Protocols
) -> float:
    """Energy of a 16-bit MAC at 1 GHz, in pJ, that the rates of a process's boards ask for."""
    cases = [
        (large, _typical(board(claim), families), protocol_of(claim, known))
        for claim in board_claims().claims
        if process.has(claim.gpu, claim.source)
        and not claim.beside
        and (large := large_products(claim)) is not None
    ]

    def loss(z: Float64) -> float:
        energy = process.start * float(np.exp(z[0]))
        tried = replace(law, mac_pj={**law.mac_pj, name: energy})
        apart = []
        for claim, machine, protocol in cases:
            ours, theirs = np.array(pairs_of(claim, tried.on(machine), protocol)).T
            apart.append(float(np.abs(np.log(ours / theirs)).mean()))
        return float(np.mean(apart) + settings().settings.pull * float(z @ z) / len(cases))

    return process.start * float(np.exp(least(loss, 1, settings().settings.power_rounds)[0]))


def large_products(claim: BoardClaim) -> BoardClaim | None:
    """The products of a claim that are large enough to say what power allows."""
    chosen = settings().settings
    kept = [
        i
        for i, (_, m, n, k) in enumerate(claim.sizes)
        if m >= chosen.power_least_m and n * k >= chosen.power_least_weights
    ]
    if not kept:
        return None
    shapes = tuple((m, n, k) for _, m, n, k in (claim.sizes[i] for i in kept))
    rates = tuple(claim.tflops[i] for i in kept) if claim.tflops else ()
    return claim.model_copy(
        update={
            "squares": (), "weights": None, "batches": (), "shapes": shapes, "tflops": rates,
        }
    )  # fmt: skip


def _typical(machine: TensorCore, families: Families) -> TensorCore:
    """A board with the dense kernels of its family."""
    wide = bool(machine.spec.sm.warp_groups or machine.spec.sm.tensor_memory)
    library = families[wide, "dense"].cases[0].kernels
    fitted = library.model_dump(exclude={"most_splits", "most_edge", "by_rows", "sustained"})
    return with_kernels(machine, "dense", fitted)
