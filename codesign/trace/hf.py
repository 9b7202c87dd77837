"""Traces of Hugging Face models from their config.json alone: no torch, no transformers, no net."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from codesign.config import CodesignError, did_you_mean
from codesign.trace.hf_config import HFConfig, read_config
from codesign.trace.hf_families import HF_FAMILIES
from codesign.trace.hf_names import names_of, renamed
from codesign.trace.op import Trace
from codesign.trace.spec import WorkloadSpec
from codesign.trace.workload import build_trace


def load_hf(
    path: Path | str,
    *,
    phase: str | None = None,
    batch: int = 1,
    seq: int | None = None,
    context: int | None = None,
    optimizer: str = "sgd_momentum",
    dtype: str | None = None,
) -> Trace:
    """The trace of the model that a config.json (or its folder) describes.

    Layers and parameters have the names of the model's own module. Raises CodesignError for files
    that are no configuration, for a `model_type` without a specification here and for sizes that
    contradict each other.
    """
    config = read_config(Path(path))
    trace = build_trace(hf_spec(config), f"hf:{path}", phase, batch, seq, context, optimizer, dtype)
    return renamed(trace, hf_names(config))


def hf_spec(config: HFConfig) -> WorkloadSpec:
    """The specification that a configuration states."""
    if config.model_type not in HF_FAMILIES:
        hint = did_you_mean(config.model_type, list(HF_FAMILIES))
        raise CodesignError(
            f"{config.path}: no model_type {config.model_type[:40]!r} here"
            + (f"; did you mean {hint!r}?" if hint else f" (known: {', '.join(HF_FAMILIES)})")
        )
    try:
        return HF_FAMILIES[config.model_type](config)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        said = fault["msg"].removeprefix("Value error, ")
        raise config.error(
            f"{where}: {said}, got {fault['input']!r:.40}" if where else said
        ) from None


def hf_names(config: HFConfig) -> Callable[[str], str]:
    """What renames layers as the model's own module does."""
    gated = str(config.data.get("feed_forward_proj", "")).startswith("gated")
    return names_of(config.model_type, gated=gated)
