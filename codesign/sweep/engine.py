"""One design point in, its figures or its error out; what points share is kept between them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codesign import __version__
from codesign.arch import families
from codesign.arch.base import AnyMachine, Fidelity
from codesign.config import CodesignError, Document, load_spec
from codesign.metrics.objective import chooser
from codesign.sweep.accuracy import accuracy_of
from codesign.sweep.design import Base, Point
from codesign.sweep.figures import Evaluator
from codesign.trace.op import Trace
from codesign.trace.sparsify import sparsify
from codesign.trace.workload import load_workload

_TRACES_KEPT = 256


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a point: metrics, or an error; never both."""

    key: str
    metrics: Mapping[str, float]
    error: str | None
    duration_s: float
    arch_fingerprint: str = ""
    trace_fingerprint: str = ""
    version: str = __version__


class Engine:
    """Evaluates the points of one sweep in this thread."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._evaluator = Evaluator()
        self._traces: dict[object, Trace] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def evaluate(self, point: Point) -> Outcome:
        """The outcome of a point; whatever goes wrong in it is its error."""
        began = time.perf_counter()
        marks = {"arch_fingerprint": "", "trace_fingerprint": ""}
        try:
            metrics = self._metrics(point, marks)
            error = None
        except MemoryError:
            metrics, error = {}, "the point needs more memory than execution.memory_bytes allows"
        except CodesignError as fault:
            metrics, error = {}, str(fault)
        except Exception as fault:
            metrics, error = {}, f"{type(fault).__name__}: {fault}"
        return Outcome(point.key, metrics, error, time.perf_counter() - began, **marks)

    def _metrics(self, point: Point, marks: dict[str, str]) -> dict[str, float]:
        config = point.config
        machine = self.machine(config["arch"])
        trace = self.trace(config["workload"], config["sparsity"])
        marks["arch_fingerprint"] = machine.spec.fingerprint
        marks["trace_fingerprint"] = trace.fingerprint
        mapping = config["mapping"]
        searched = mapping["mapper"] != "heuristic"
        figures = self._evaluator.figures(
            trace,
            machine,
            fidelity=Fidelity(config["fidelity"]),
            seed=config["seed"],
            chooser=chooser(**mapping) if searched else None,
            chooser_key=tuple(mapping.items()) if searched else None,
        )
        if config["accuracy"] is not None:
            figures |= accuracy_of(config["accuracy"], trace, machine, config)
        return figures

    def machine(self, chosen: Mapping[str, Any]) -> AnyMachine:
        """The machine of a configuration."""
        document: Document = self._base.machines[chosen["name"]]
        family = families()[document.data["machine"]]
        return family(load_spec(family.spec_type, document, chosen["set"]))

    def trace(self, chosen: Mapping[str, Any], sparsity: Mapping[str, Any]) -> Trace:
        """The sparse trace of a configuration."""
        key = (repr(chosen), repr(sparsity))
        known = self._traces.get(key)
        if known is None:
            if len(self._traces) >= _TRACES_KEPT:
                self._traces.clear()
            dense = self._dense(chosen)
            known = dense
            if sparsity["pattern"] != "dense":
                known = sparsify(
                    dense,
                    sparsity["pattern"],
                    where=sparsity["where"].split(","),
                    method=sparsity["method"],
                    skip_first_last=True if sparsity["where"] == "*" else None,
                )
            self._traces[key] = known
        return known

    def _dense(self, chosen: Mapping[str, Any]) -> Trace:
        name = chosen["name"]
        given = {
            key: value
            for key, value in chosen.items()
            if key not in ("name", "set") and value is not None
        }
        if name in self._base.workloads:
            name = self._file(name)
        return load_workload(name, **given, overrides=chosen["set"])

    def _file(self, name: str) -> str:
        """A workload's file written where this process can read it."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="codesign-")
        path = Path(self._folder.name) / Path(name).name
        if not path.exists():
            path.write_text(self._base.workloads[name], encoding="utf-8")
        return str(path)
