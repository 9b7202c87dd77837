"""Listens to what a module calls: torch functions from above, dispatched operators from below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class Listener(Protocol):
    """What is told about calls."""

    @property
    def is_paused(self) -> bool: ...
    def value(self, tensor: Tensor) -> bool | int | float: ...
    def paused(self) -> AbstractContextManager[None]: ...
    def where(self) -> str: ...
    def dispatched(
        self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any
    ) -> None: ...
    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, first: int, last: int, out: Tensor
    ) -> None: ...


class Dispatches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Reports every operator that reaches a device."""

    def __init__(self, recorder: Listener) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder = recorder

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return self.recorder.value(args[0])
        out = func(*args, **(kwargs or {}))
        self.recorder.dispatched(func, args, kwargs or {}, out)
        return out


class Functions(TorchFunctionMode):
    """Catches scaled_dot_product_attention before it is taken apart.

    The mode sees calls from modules; functions of torch.nn.functional call one another below it, so
    that `patched` also puts a wrapper in their name space.
    """

    original = staticmethod(nn.functional.scaled_dot_product_attention)

    def __init__(self, recorder: Listener) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is self.original and not self.recorder.is_paused:
            return self.attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))

    def attention(
        self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        """scaled_dot_product_attention, reported as one call."""
        first = torch._C._autograd._get_sequence_nr()
        with self.recorder.paused():
            out = self.original(query, key, value, *args, **kwargs)
        last = torch._C._autograd._get_sequence_nr()
        self.recorder.attention(query, key, value, first, last, out)
        return out

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Route calls inside torch.nn.functional to `attention`."""
        nn.functional.scaled_dot_product_attention = self.attention
        try:
            yield
        finally:
            nn.functional.scaled_dot_product_attention = self.original


def sequence_number(node: Any) -> int:
    """The number that ties a backward operator to its forward one, private to torch."""
    if node is None:
        return int(torch._C._autograd._get_sequence_nr()) - 1
    return int(node._sequence_nr())


def flat(value: Any) -> list[Tensor]:
    """The tensors within nested lists, tuples and mappings, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [tensor for entry in value for tensor in flat(entry)]
    return []
