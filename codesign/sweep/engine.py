"""One design point in, its figures or its error out; what points share is kept between them."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from codesign import __version__
from codesign.arch import families
from codesign.arch.base import SOURCES_ARE_KNOWN, AnyMachine, Fidelity
from codesign.config import CodesignError, Document, Spec, fingerprint, load_spec
from codesign.evaluate import evaluate
from codesign.mapper.residency import NetworkPlan
from codesign.planning import network_chooser
from codesign.sparsity.pattern import parse_pattern
from codesign.sweep.accuracy import accuracy_of
from codesign.sweep.design import Base, Point
from codesign.sweep.figures import FIGURES, Evaluator
from codesign.sweep.store import compact_json
from codesign.trace.op import Trace
from codesign.trace.sparsify import STORED, as_stored, sparsify, without_sparsity
from codesign.trace.transform import is_change, make_sparse
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
    """Of the machine's file and of what is set in it."""
    trace_fingerprint: str = ""
    version: str = __version__
    texts: tuple[str, str] | None = None
    """The point's values and the metrics as JSON, written where the point was evaluated."""

    def __reduce__(self) -> tuple[object, ...]:
        """Travels as its fields, which takes a fifth of the time."""
        return Outcome, (
            self.key, self.metrics, self.error, self.duration_s, self.arch_fingerprint,
            self.trace_fingerprint, self.version, self.texts,
        )  # fmt: skip


class Engine:
    """Evaluates the points of one sweep in this thread."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._evaluator = Evaluator()
        self._traces: dict[object, Trace] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def warm(self) -> None:
        """Load compiled code, so that the first point takes no longer than the others."""
        tiny = load_workload("gemm:8,8,8")
        with suppress(CodesignError):
            machine = self.machine(self._base.study.base_arch.model_dump(mode="json"))
            self._evaluator.figures(tiny, machine, fidelity=Fidelity.TILE, seed=0)

    def evaluate(self, point: Point) -> Outcome:
        """The outcome of a point; whatever goes wrong in it is its error."""
        began = time.perf_counter()
        marks = {"arch_fingerprint": "", "trace_fingerprint": ""}
        texts: tuple[str, str] | None = None
        try:
            metrics, error = self._metrics(point, marks), None
            texts = compact_json(point.values), compact_json(metrics)
        except MemoryError:
            metrics, error = {}, "the point needs more memory than execution.memory_bytes allows"
        except CodesignError as fault:
            metrics, error = {}, str(fault)
        except Exception as fault:
            metrics, error = {}, f"{type(fault).__name__}: {fault}"
        spent_s = time.perf_counter() - began
        return Outcome(point.key, metrics, error, spent_s, **marks, texts=texts)

    def _metrics(self, point: Point, marks: dict[str, str]) -> dict[str, float]:
        config = point.config
        machine = self.machine(config["arch"])
        trace = self.trace(config["workload"], config["sparsity"])
        marks["arch_fingerprint"] = fingerprint([config["arch"]["file"], config["arch"]["set"]])
        marks["trace_fingerprint"] = trace.fingerprint
        mapping, fidelity, seed = config["mapping"], Fidelity(config["fidelity"]), config["seed"]
        chooser = network_chooser(trace, machine, fidelity=fidelity, seed=seed, **mapping)
        if isinstance(chooser, NetworkPlan):
            result = evaluate(trace, machine, fidelity=fidelity, seed=seed, chooser=chooser)
            figures = {name: getattr(result, name) for name in FIGURES}
        else:
            figures = self._evaluator.figures(
                trace,
                machine,
                fidelity=fidelity,
                seed=seed,
                chooser=chooser,
                chooser_key=None if chooser is None else tuple(mapping.items()),
            )
        if config["accuracy"] is not None:
            figures |= accuracy_of(config["accuracy"], trace, machine, config)
        return figures

    def machine(self, chosen: Mapping[str, Any]) -> AnyMachine:
        """The machine of a configuration."""
        document: Document = self._base.machines[chosen["name"]]
        family = families()[document.data["machine"]]
        spec = _quick_spec(family.spec_type, document.data, chosen["set"])
        return family(
            load_spec(family.spec_type, document, chosen["set"]) if spec is None else spec
        )

    def trace(self, chosen: Mapping[str, Any], sparsity: Mapping[str, Any]) -> Trace:
        """The trace of a configuration, with its sparsity."""
        key = (repr(chosen), repr(sparsity))
        known = self._traces.get(key)
        if known is None:
            if len(self._traces) >= _TRACES_KEPT:
                self._traces.clear()
            known = self._traces[key] = _made_sparse(self._given(chosen), **sparsity)
        return known

    def _given(self, chosen: Mapping[str, Any]) -> Trace:
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


def _made_sparse(trace: Trace, pattern: str, where: str, method: str | None) -> Trace:
    """What a pattern, `dense`, `stored` or a change makes of a workload, as in `simulate`."""
    if pattern == STORED:
        return as_stored(trace)
    globs = where.split(",")
    if is_change(pattern):
        return make_sparse(trace, pattern, globs, method=method)
    if parse_pattern(pattern).is_dense:
        return without_sparsity(trace)
    skip = True if where == "*" else None
    return sparsify(trace, pattern, where=globs, method=method, skip_first_last=skip)


def _quick_spec(kind: type[Spec], data: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
    """What load_spec makes of values at paths that the file has; None where it has to say more."""
    context: object = SOURCES_ARE_KNOWN
    copied: dict[str, Any] = dict(data)
    fresh: dict[tuple[str, ...], dict[str, Any]] = {(): copied}
    for path, value in values.items():
        *above, last = path.split(".")
        inner = copied
        place: tuple[str, ...] = ()
        for name in above:
            place = (*place, name)
            if place not in fresh:
                if not isinstance(inner.get(name), dict):
                    return None
                inner[name] = fresh[place] = dict(inner[name])
            inner = fresh[place]
        if last not in inner or isinstance(inner[last], dict | list):
            return None
        if not (_is_number(inner[last]) and _is_number(value)):
            context = None
        inner[last] = value
    try:
        return kind.model_validate_json(json.dumps(copied), context=context)
    except (ValidationError, ValueError, TypeError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
