"""Byte addresses become channel, bank, row and column by a mapping such as RoBaRaCoCh."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codesign.config import CodesignError
from codesign.memory.spec import Organisation

Int64 = NDArray[np.int64]


@dataclass(frozen=True)
class Location:
    """Where requests go: `bank` counts over a channel's ranks and bank groups, column bursts."""

    channel: Int64
    bank: Int64
    row: Int64
    column: Int64

    def check(self, shape: Organisation) -> None:
        """Raise CodesignError unless every place exists."""
        for name, limit in (
            ("channel", shape.channels),
            ("bank", shape.banks),
            ("row", shape.rows),
            ("column", shape.columns),
        ):
            values: Int64 = getattr(self, name)
            if len(values) and (values.min() < 0 or values.max() >= limit):
                raise CodesignError(f"a {name} lies outside 0 to {limit - 1}")


@dataclass(frozen=True)
class AddressMapping:
    """The order of an address's digits, most significant first; bytes within a burst come last.

    Sizes need not be powers of two: a digit is what remains after division by the sizes to its
    right.
    """

    order: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> AddressMapping:
        """Read Ro, Ra, Bg, Ba, Co and Ch, each once; without Bg, Ba counts all banks of a rank.

        >>> AddressMapping.parse("RoBaRaCoCh").order
        ('Ro', 'Ba', 'Ra', 'Co', 'Ch')
        """
        order = tuple(re.findall("[A-Z][a-z]*", text))
        wanted = {"Ro", "Ra", "Ba", "Co", "Ch"}
        if "".join(order) != text or len(set(order)) != len(order) or set(order) - {"Bg"} != wanted:
            raise CodesignError(
                f"address mapping '{text}': wants each of Ro, Ra, Ba, Co, Ch once, and Bg or not"
            )
        return cls(order)

    def locate(self, shape: Organisation, addresses: Int64) -> Location:
        """The place of every byte address. Raises CodesignError beyond the last byte."""
        sizes = self._sizes(shape)
        capacity = shape.channels * shape.channel_bytes
        rest = np.asarray(addresses, dtype=np.int64)
        if rest.size and (rest.min() < 0 or rest.max() >= capacity):
            raise CodesignError(f"an address lies outside the DRAM's {capacity} bytes")
        rest = rest // shape.burst_bytes
        digit: dict[str, Int64] = {}
        for name in reversed(self.order):
            digit[name] = rest % sizes[name]
            rest = rest // sizes[name]
        in_rank = digit["Ba"]
        if "Bg" in digit:
            in_rank = digit["Bg"] * shape.banks_per_group + in_rank
        bank = digit["Ra"] * (shape.bank_groups * shape.banks_per_group) + in_rank
        return Location(digit["Ch"], bank, digit["Ro"], digit["Co"])

    def address(self, shape: Organisation, where: Location) -> Int64:
        """The first byte of the burst at every place: the inverse of `locate`."""
        per_rank = shape.bank_groups * shape.banks_per_group
        in_rank = where.bank % per_rank
        grouped = "Bg" in self.order
        digit = {
            "Ch": where.channel,
            "Ra": where.bank // per_rank,
            "Bg": in_rank // shape.banks_per_group,
            "Ba": in_rank % shape.banks_per_group if grouped else in_rank,
            "Ro": where.row,
            "Co": where.column,
        }
        sizes = self._sizes(shape)
        total = np.zeros_like(where.row)
        for name in self.order:
            total = total * sizes[name] + digit[name]
        return total * shape.burst_bytes

    def _sizes(self, shape: Organisation) -> dict[str, int]:
        grouped = "Bg" in self.order
        return {
            "Ch": shape.channels,
            "Ra": shape.ranks,
            "Bg": shape.bank_groups,
            "Ba": shape.banks_per_group * (1 if grouped else shape.bank_groups),
            "Ro": shape.rows,
            "Co": shape.columns,
        }
