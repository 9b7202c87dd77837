"""The conversion factors between units and the sizes of data types."""

from __future__ import annotations

from typing import Final, Literal, get_args

BITS_PER_BYTE: Final = 8
FLOP_PER_MAC: Final = 2
"""A multiply-accumulate is one multiplication and one addition."""

TERA: Final = 10**12
PJ_PER_J: Final = 10**12
MW_PER_W: Final = 10**3
US_PER_S: Final = 10**6
NS_PER_S: Final = 10**9
PS_PER_NS: Final = 10**3
MS_PER_S: Final = 10**3
HZ_PER_MHZ: Final = 10**6
UM2_PER_MM2: Final = 10**6
BYTES_PER_GIB: Final = 2**30

DTypeName = Literal[
    "fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "int32", "int16", "int8", "int4", "bool"
]
DTYPES: Final[tuple[DTypeName, ...]] = get_args(DTypeName)

DTYPE_BYTES: Final[dict[str, tuple[int, int]]] = {
    "fp64": (8, 1),
    "fp32": (4, 1),
    "tf32": (4, 1),
    "fp16": (2, 1),
    "bf16": (2, 1),
    "fp8": (1, 1),
    "int32": (4, 1),
    "int16": (2, 1),
    "int8": (1, 1),
    "int4": (1, 2),
    "bool": (1, 8),
}
"""Bytes of one stored value as numerator and denominator; tf32 is stored in 32 bits."""


def dtype_bits(name: str) -> int:
    """Stored bits of one value of data type `name`; KeyError for an unknown name.

    >>> dtype_bits("int4")
    4
    """
    numerator, denominator = DTYPE_BYTES[name]
    return BITS_PER_BYTE * numerator // denominator
