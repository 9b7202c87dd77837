"""Which function makes the product of a kernel: a library's, or a Triton kernel's."""

from __future__ import annotations

from collections.abc import Callable

from codesign.config import CodesignError
from codesign.measure import gpu_libraries
from codesign.measure.gpu_plan import TRITON, Point
from codesign.measure.gpu_products import Product

Builder = Callable[[Point, str], Product]


def builder(kernel: str) -> Builder:
    """What makes the product of a kernel's points; CodesignError for a name that has none."""
    if kernel in TRITON:
        try:
            from codesign.measure import gpu_triton
        except ImportError as error:
            raise CodesignError(f"{kernel} needs the package triton ({error})") from None
        found = gpu_triton.BUILDERS.get(kernel)
    else:
        found = gpu_libraries.BUILDERS.get(kernel)
    if found is None:
        raise CodesignError(f"there is no kernel {kernel!r}")
    return found
