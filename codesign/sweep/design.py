"""From a sweep and the values of its parameters to one design: all that decides its figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codesign import __version__
from codesign.arch import find_arch
from codesign.config import CodesignError, Document, fingerprint, load_yaml
from codesign.sweep.study import Scalar, Study
from codesign.trace.sparsify import STORED, has_sparsity
from codesign.trace.workload import find_workload, workload_names

Values = Mapping[str, Scalar]
_SORTED_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_VERSION_JSON = json.dumps(__version__)


@dataclass(frozen=True)
class Base:
    """What every design of a sweep has in common, with the content of all files: no path is left.

    `workloads` holds the text of workload files that are not shipped, by the name used.
    """

    study: Study
    machines: Mapping[str, Document]
    workloads: Mapping[str, str] = field(default_factory=dict)

    @property
    def marks(self) -> dict[str, str]:
        """Fingerprints of the machine files, by name."""
        return {name: fingerprint(document.data) for name, document in self.machines.items()}

    @property
    def workload_marks(self) -> dict[str, str]:
        """Fingerprints of the workload files that are not shipped, by name."""
        return {name: fingerprint(text) for name, text in self.workloads.items()}

    @property
    def saved_sparse(self) -> frozenset[str]:
        """The workloads that are saved traces with sparsity of their own."""
        saved = {n: json.loads(text) for n, text in self.workloads.items() if n.endswith(".json")}
        return frozenset(n for n, content in saved.items() if has_sparsity(content.get("meta", {})))


@dataclass(frozen=True, slots=True)
class Point:
    """One design of a sweep: its number there, its own values, and its whole configuration."""

    number: int
    values: Values
    config: Mapping[str, Any]
    text: str
    """The configuration as JSON with sorted keys."""
    key: str
    """Equal for equal configurations, in every process."""

    def __reduce__(self) -> tuple[object, ...]:
        """Travels as text: to take it apart is the work of who gets it."""
        return _arrived, (self.number, self.values, self.text, self.key)


def _arrived(number: int, values: Values, text: str, key: str) -> Point:
    return Point(number, values, json.loads(text), text, key)


def read_base(study: Study) -> Base:
    """The files that a sweep names. Raises CodesignError for one that is not there."""
    names = _named(study, "arch", study.base_arch.name)
    loads = _named(study, "workload", study.base_workload.name)
    shipped = set(workload_names())
    texts = {
        name: _read(find_workload(study.located(name)))
        for name in loads
        if name not in shipped and not name.startswith("gemm:")
    }
    return Base(study, {name: load_yaml(find_arch(study.located(name))) for name in names}, texts)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise CodesignError(f"{path}: {error.strerror}") from None


def _named(study: Study, path: str, base: str) -> list[str]:
    for key in (path, f"{path}.name"):
        parameter = study.parameters.get(key)
        if parameter is not None and parameter.values is not None:
            return [str(value) for value in parameter.values]
    return [base]


class Designs:
    """Makes points of one sweep from the values of its parameters."""

    def __init__(self, base: Base) -> None:
        self.base = base
        study = base.study
        self._marks, self._saved_sparse = base.marks, base.saved_sparse
        self._workload = study.base_workload.model_dump(mode="json")
        self._arch = study.base_arch.model_dump(mode="json")
        self._sparsity = study.base_sparsity.model_dump(mode="json")
        self._mapping = study.mapping.model_dump(mode="json")
        self._targets = {
            path: [_target(each) for each in (path, *parameter.also)]
            for path, parameter in study.parameters.items()
        }
        self._always = not any(parameter.when for parameter in study.parameters.values())

    def active(self, values: Values) -> dict[str, Scalar]:
        """The values of the parameters that are there, in the order of the file."""
        parameters = self.base.study.parameters
        if self._always:
            return {path: values[path] for path in parameters}
        return {
            path: values[path]
            for path, parameter in parameters.items()
            if all(values.get(other) in allowed for other, allowed in parameter.when.items())
        }

    def point(self, number: int, values: Values, fidelity: str | None = None) -> Point:
        """The design with these values, at the sweep's fidelity or another."""
        study = self.base.study
        kept = self.active(values)
        config: dict[str, Any] = {
            "workload": {**self._workload, "set": dict(self._workload["set"])},
            "arch": {**self._arch, "set": dict(self._arch["set"])},
            "sparsity": dict(self._sparsity),
            "mapping": dict(self._mapping),
            "seed": study.seed,
            "fidelity": fidelity or study.fidelity,
            "accuracy": study.accuracy,
        }
        for path, value in kept.items():
            for *above, last in self._targets[path]:
                section = config
                for name in above:
                    section = section[name]
                section[last] = value
        if config["sparsity"]["pattern"] is None:
            saved = config["workload"]["name"] in self._saved_sparse
            config["sparsity"]["pattern"] = STORED if saved else "dense"
        config["arch"]["file"] = self._marks.get(config["arch"]["name"], "")
        text = _SORTED_JSON.encode(config)
        return Point(number, kept, config, text, fingerprint(f"[{text},{_VERSION_JSON}]"))


_SECTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "workload": (
        "name", ("phase", "batch", "seq", "context", "image", "dtype", "optimizer", "name"),
    ),
    "arch": ("name", ("name",)),
    "sparsity": ("pattern", ("pattern", "where", "method")),
    "mapping": ("mapper", ("mapper", "objective", "budget", "keep_on_chip", "fuse", "place")),
}  # fmt: skip
"""What a bare section name stands for, and the section's keys; other paths go below its `set`."""


def _target(path: str) -> tuple[str, ...]:
    """The keys that lead to the place of a parameter in a configuration.

    Raises CodesignError for a path that no section of a design has.
    """
    root, _, rest = path.partition(".")
    if path == "seed":
        return ("seed",)
    if root not in _SECTIONS:
        raise CodesignError(f"a parameter's path begins with {', '.join(_SECTIONS)} or is seed")
    bare, keys = _SECTIONS[root]
    if not rest:
        return root, bare
    if rest in keys:
        return root, rest
    if root in ("workload", "arch"):
        return root, "set", rest.removeprefix("set.")
    raise CodesignError(f"{root} has {', '.join(keys)}, not {rest}")
