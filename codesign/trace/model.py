"""A model known by its shapes, of which traces of any phase can be made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from codesign.config import CodesignError
from codesign.trace.hf_names import renamed
from codesign.trace.op import Trace
from codesign.trace.spec import WorkloadSpec
from codesign.trace.workload import build_trace, workload_spec


@dataclass(frozen=True, slots=True)
class Size:
    """How much of a model is run; None where the model decides."""

    batch: int = 1
    seq: int | None = None
    context: int | None = None
    dtype: str | None = None
    optimizer: str = "sgd_momentum"


@dataclass(frozen=True, slots=True)
class Model:
    """A specification, what errors and traces call it, and the names its layers get at last."""

    spec: WorkloadSpec
    source: str
    names: Callable[[str], str] | None = None

    def trace(
        self,
        phase: str,
        size: Size,
        *,
        draft: int = 0,
        change: Callable[[Trace], Trace] | None = None,
        trainable: Callable[[str], bool] | None = None,
    ) -> Trace:
        """The trace of one phase; arguments and errors are those of `build_trace`."""
        trace = build_trace(
            self.spec, self.source, phase, size.batch, size.seq, size.context, size.optimizer,
            size.dtype, draft=draft, change=change, trainable=trainable,
        )  # fmt: skip
        return trace if self.names is None else renamed(trace, self.names)

    def with_spec(self, **changed: object) -> Model:
        """The model with other hyper-parameters, checked again."""
        stated = {name: getattr(self.spec, name) for name in type(self.spec).model_fields}
        return replace(self, spec=type(self.spec)(**{**stated, **changed}))


def open_model(source: str) -> Model:
    """The model that a workload's name or file, or `hf:config.json`, describes.

    Raises CodesignError for sources that are a trace of one phase already.
    """
    if source.startswith("hf:"):
        from codesign.trace.hf import hf_names, hf_spec
        from codesign.trace.hf_config import read_config

        config = read_config(Path(source.removeprefix("hf:")))
        return Model(hf_spec(config), source, hf_names(config))
    prefix = source.partition(":")[0]
    if prefix in ("torch", "onnx", "checkpoint", "scalesim", "gemm") or source.endswith(".json"):
        raise CodesignError(
            f"{source[:80]!r} gives one trace; phases are made of workloads and hf: configurations"
        )
    return Model(workload_spec(source), source)
