"""Numbers with units, and strings of unknown origin, as text for people."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL_PREFIXES = ((1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
MISSING = "–"


def si_scale(largest: float, unit: str) -> tuple[float, str]:
    """The factor and the prefixed unit in which a value reads between 1 and 1000.

    >>> si_scale(0.0042, "s")
    (1000.0, 'ms')
    """
    size = abs(largest)
    if not math.isfinite(size) or size == 0:
        return 1.0, unit
    prefixes = _PREFIXES if size >= 1 else _SMALL_PREFIXES
    for factor, prefix in prefixes:
        if size >= factor * 0.9995:
            return (1 / factor if factor >= 1 else float(round(1 / factor))), prefix + unit
    return 1e15, "f" + unit


def significant(value: float, digits: int = 3) -> str:
    """A plain decimal with the given significant digits and no exponent below 10^6.

    >>> significant(0.04567), significant(1234.5), significant(2)
    ('0.0457', '1,234', '2.00')
    """
    if not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    decimals = digits - 1 - exponent
    if decimals >= digits + 4:
        return f"{value:.{digits - 1}e}"
    if abs(round(value, decimals)) >= 10.0 ** (exponent + 1):
        decimals -= 1
    return f"{value:,.{max(decimals, 0)}f}"


def with_unit(value: float, unit: str, digits: int = 3) -> str:
    """A value with the SI prefix that suits it.

    >>> with_unit(0.0042, "s"), with_unit(25_557_032, "B")
    ('4.20 ms', '25.6 MB')
    """
    if not math.isfinite(value):
        return MISSING
    factor, prefixed = si_scale(value, unit)
    text = significant(value * factor, digits)
    return f"{text} {prefixed}" if prefixed else text


def area(mm2: float) -> str:
    """Square millimetres.

    >>> area(12.345)
    '12.3 mm²'
    """
    return f"{significant(mm2)} mm²" if math.isfinite(mm2) and mm2 > 0 else MISSING


def ratio(value: float) -> str:
    """A ratio to a baseline.

    >>> ratio(1.749)
    '1.75×'
    """
    if not math.isfinite(value):
        return MISSING
    return f"{value:.2f}×" if value < 9.995 else f"{significant(value)}×"


def share(fraction: float) -> str:
    """A fraction of a whole.

    >>> share(0.1234), share(0.0003), share(0.0)
    ('12 %', '<1 %', '0 %')
    """
    if not math.isfinite(fraction):
        return MISSING
    if 0 < fraction < 0.005:
        return "<1 %"
    return f"{fraction * 100:.0f} %"


def divide(numerator: float, denominator: float) -> float:
    """The quotient, or NaN where there is none."""
    return numerator / denominator if denominator else math.nan


def clean(text: str) -> str:
    """The text with control characters, lone surrogates and bidi overrides made visible.

    >>> clean("a" + chr(0) + "b")
    'a␀b'
    """
    return _UNSHOWABLE.sub(_visible, text)


_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def _visible(found: re.Match[str]) -> str:
    code = ord(found.group())
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def one_line(text: str, longest: int = 0) -> str:
    """The text on one line, its middle cut out when it has more than `longest` characters."""
    line = " ".join(clean(text).split())
    if longest and len(line) > longest:
        tail = longest // 3
        return line[: longest - tail - 1] + "…" + line[len(line) - tail :]
    return line


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of a design as people read it: its name, its unit, and what one of it counts."""

    title: str
    unit: str = ""
    factor: float = 1.0
    percent: bool = False

    @property
    def axis(self) -> str:
        """Name and unit for an axis."""
        unit = "%" if self.percent else self.unit
        return f"{self.title} ({unit})" if unit else self.title

    def text(self, value: float) -> str:
        """The value with its unit.

        >>> quantity("latency_s").text(0.0042), quantity("accuracy_drop").text(0.0125)
        ('4.20 ms', '1.25 %')
        """
        if self.percent:
            return f"{significant(value * 100)} %" if math.isfinite(value) else MISSING
        if self.unit == "mm²":
            return area(value)
        return with_unit(value * self.factor, self.unit)


_QUANTITIES = {
    "latency_s": Quantity("latency", "s"),
    "energy_j": Quantity("energy", "J"),
    "edp_js": Quantity("energy × delay", "Js"),
    "area_mm2": Quantity("area", "mm²"),
    "power_w": Quantity("power", "W"),
    "utilisation": Quantity("use of array", percent=True),
    "accuracy": Quantity("accuracy", percent=True),
    "accuracy_drop": Quantity("accuracy lost", percent=True),
    "dense_tops": Quantity("dense rate", "OP/s", 1e12),
    "effective_tops": Quantity("effective rate", "OP/s", 1e12),
    "peak_tops": Quantity("peak rate", "OP/s", 1e12),
    "dram_bytes": Quantity("DRAM traffic", "B"),
    "macs": Quantity("work", "MAC"),
    "effective_macs": Quantity("work on kept weights", "MAC"),
    "executed_macs": Quantity("work issued", "MAC"),
}


def quantity(name: str) -> Quantity:
    """How a figure of a result or of a sweep is shown; an unknown one by its own name."""
    return _QUANTITIES.get(name) or Quantity(one_line(name, 40).replace("_", " "))
