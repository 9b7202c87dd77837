"""Programs of tiled products, of all their steps or of their outline."""

from __future__ import annotations

from codesign.schedule.product import TiledProduct
from codesign.schedule.program import MARKER, NO_ACTION, Program, Steps
from codesign.schedule.streaming import Link, emit_outline


class Pads(Link):
    """What is kept comes and goes as a wait that counts nothing but its size."""

    unit = MARKER.name
    read_action = write_action = NO_ACTION


def program_of(steps: Steps, product: TiledProduct, link: Link, *, outline: bool) -> Program:
    """What `steps` holds, then the product: a program that passes its own checks."""
    if outline:
        release, done = emit_outline(steps, link, product.outline(link))
    else:
        release, done = product.emit(steps, link)
    program = steps.build(release_after=release, done_after=done)
    program.check()
    return program
