"""Does every byte address have one place, and every place one address, as the mapping tells?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.config import CodesignError
from codesign.memory import AddressMapping
from codesign.memory.spec import Organisation

SHAPE = Organisation(
    channels=2, ranks=3, bank_groups=2, banks_per_group=5, rows=6, columns=4, burst_bytes=32
)


@given(st.permutations(["Ro", "Ra", "Ba", "Co", "Ch"]), st.booleans(), st.integers(0, 5))
def test_mappings_are_bijections(order, grouped, at):
    if grouped:
        order.insert(at, "Bg")
    mapping = AddressMapping.parse("".join(order))
    total = SHAPE.channels * SHAPE.channel_bytes
    addresses = np.arange(0, total, SHAPE.burst_bytes)
    where = mapping.locate(SHAPE, addresses)
    where.check(SHAPE)
    assert mapping.address(SHAPE, where).tolist() == addresses.tolist()
    assert mapping.locate(SHAPE, addresses + 31).row.tolist() == where.row.tolist()
    places = set(zip(where.channel, where.bank, where.row, where.column, strict=True))
    assert len(places) == len(addresses)


def test_the_last_digit_changes_first():
    where = AddressMapping.parse("RoBaRaCoCh").locate(SHAPE, np.arange(0, 32 * 10, 32))
    assert where.channel.tolist() == [0, 1] * 5
    assert where.column.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 0, 0]
    assert where.bank.tolist() == [0] * 8 + [10, 10]
    grouped = AddressMapping.parse("RoCoRaBaChBg").locate(SHAPE, np.arange(0, 32 * 5, 32))
    assert grouped.bank.tolist() == [0, 5, 0, 5, 1]


@pytest.mark.parametrize(
    "text", ["", "RoBaCoCh", "RoBaRaCoChCh", "RoBaRaCoCx", "roBaRaCoCh", "Ro Ba Ra Co Ch"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(CodesignError, match="address mapping"):
        AddressMapping.parse(text)


def test_addresses_outside_are_refused():
    mapping = AddressMapping.parse("RoBaRaCoCh")
    for address in (-1, SHAPE.channels * SHAPE.channel_bytes):
        with pytest.raises(CodesignError, match="outside"):
            mapping.locate(SHAPE, np.array([address]))
