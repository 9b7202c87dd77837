"""The models of the shipped tasks as `torch:codesign.accuracy.traced:NAME` traces them.

Their names are those that `codesign compare --accuracy measured` looks runs up by.
"""

from __future__ import annotations

from torch import Tensor, nn

from codesign.accuracy.tasks import task


def digits_mlp() -> tuple[nn.Module, Tensor]:
    """The MLP of the digits and one image."""
    return _first("digits", "mlp")


def digits_cnn() -> tuple[nn.Module, Tensor]:
    """The CNN of the digits and one image."""
    return _first("digits", "cnn")


def charlm_transformer() -> tuple[nn.Module, Tensor]:
    """The character model and one window of text."""
    return _first("charlm", "transformer")


def _first(name: str, model: str) -> tuple[nn.Module, Tensor]:
    on = task(name)
    return on.models[model](), on.calibration()[0][:1]
