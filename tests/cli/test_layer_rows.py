"""Do the rows of a table fit a screen and hold every operator once?"""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from codesign.cli.groups import Group, layer_groups


@dataclass(frozen=True)
class Named:
    layer: str
    shape: str = "s"
    name: str = "op"
    weight: int = 1


def rows(ops: list[Named], limit: int = 20) -> list[Group[Named]]:
    return layer_groups(ops, weight=lambda op: op.weight, likeness=lambda op: op.shape, rows=limit)


def labels(ops: list[Named], limit: int = 20) -> list[str]:
    return [group.label for group in rows(ops, limit)]


def test_equal_blocks_share_a_row_and_keep_their_parts() -> None:
    parts = ("norm", "attention.q", "attention.k", "mlp")
    ops = [Named(f"layers.{i}.{part}") for i in range(32) for part in parts]
    assert labels([Named("embed"), *ops, Named("head")]) == [
        "embed",
        "layers.0-31.norm",
        "layers.0-31.attention.q",
        "layers.0-31.attention.k",
        "layers.0-31.mlp",
        "head",
    ]


def test_blocks_of_other_shapes_keep_their_own_row() -> None:
    ops = [Named(f"stage.{i}", shape="wide" if i == 0 else "narrow") for i in range(4)]
    assert labels(ops) == ["stage.0", "stage.1-3"]


def test_only_numbered_blocks_are_joined() -> None:
    assert labels([Named("stage.left"), Named("stage.right")]) == ["stage.left", "stage.right"]


def test_all_groups_are_cut_at_the_same_depth() -> None:
    ops = [
        Named(f"stage{s}.{b}.conv{c}", f"{s}{b}{c}") for s in range(7) for b in "ab" for c in "xyz"
    ]
    assert labels(ops) == [f"stage{s}.{b}" for s in range(7) for b in "ab"]


def test_a_flat_network_keeps_its_heaviest_layers() -> None:
    ops = [Named(f"conv{i}", weight=i) for i in range(50)]
    assert labels(ops) == [*(f"conv{i}" for i in range(31, 50)), "others"]


def test_an_operator_without_a_layer_goes_by_its_name() -> None:
    assert labels([Named("", name="scale"), Named("", name="shift")]) == ["scale", "shift"]


paths = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "10"]), min_size=1, max_size=4).map(
    ".".join
)


@given(
    st.lists(st.tuples(paths, st.sampled_from("st")), min_size=1, max_size=60), st.integers(2, 20)
)
def test_every_operator_is_in_one_row(drawn: list[tuple[str, str]], limit: int) -> None:
    ops = [Named(path, shape, name=str(i)) for i, (path, shape) in enumerate(drawn)]
    groups = rows(ops, limit)
    assert len(groups) <= limit
    assert sorted(op.name for group in groups for op in group.ops) == sorted(op.name for op in ops)
    assert all(group.ops for group in groups)
