"""From the configuration of a design to the command line that simulates it alone."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from codesign.sweep.check import sweep_names
from codesign.sweep.store import Row
from codesign.sweep.study import Study

_WORKLOAD = ("phase", "batch", "seq", "context", "image", "dtype", "optimizer")


def tokens(row: Row, study: Study) -> tuple[str, ...]:
    """The parts of the command that runs a design again; joined by spaces they are a shell's line.

    `codesign simulate` runs it alone; a design with other hyper-parameters in its workload's file
    is a sweep of one point, because no option sets those.
    """
    if row.config["workload"]["set"]:
        values = row.values.items()
        file = study.name if study.name in sweep_names() else f"{study.name}.yaml"
        parts = ["codesign sweep", shlex.quote(file), "method=grid"]
        parts += [shlex.quote(f"{path}={_yaml(value)}") for path, value in values]
        return (*parts, f"-o point-{row.number}.db")
    return tuple(_simulate(row.config))


def _simulate(config: Mapping[str, Any]) -> list[str]:
    workload, arch, sparsity = config["workload"], config["arch"], config["sparsity"]
    mapping = config["mapping"]
    parts = ["codesign simulate", shlex.quote(workload["name"])]
    parts += [
        f"--{key} {shlex.quote(str(workload[key]))}"
        for key in _WORKLOAD
        if workload.get(key) is not None and (key, workload[key]) != ("batch", 1)
    ]
    parts.append(f"--arch {shlex.quote(arch['name'])}")
    parts += [f"--set {shlex.quote(f'{path}={_yaml(v)}')}" for path, v in arch["set"].items()]
    if sparsity["pattern"] != "dense" or workload["name"].endswith(".json"):
        parts.append(f"--sparsity {shlex.quote(sparsity['pattern'])}")
        if sparsity["where"] != "*":
            parts += [f"--where {shlex.quote(glob)}" for glob in sparsity["where"].split(",")]
        if sparsity["method"] is not None:
            parts.append(f"--method {shlex.quote(sparsity['method'])}")
    decided = [name for name in ("keep_on_chip", "fuse", "place") if mapping.get(name)]
    if mapping["mapper"] != "heuristic" or decided:
        parts += [f"--{key} {mapping[key]}" for key in ("mapper", "objective", "budget")]
    parts += [f"--{name.replace('_', '-')}" for name in decided]
    parts.append(f"--fidelity {config['fidelity']}")
    if config["seed"]:
        parts.append(f"--seed {config['seed']}")
    return parts


_WORD = re.compile(r"(?!(?:true|false|null)$)[A-Za-z][A-Za-z0-9_./-]*", re.IGNORECASE)


def _yaml(value: object) -> str:
    """A scalar as the command line reads it: words as they are, all else as JSON, which is YAML."""
    if isinstance(value, str) and _WORD.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)
