"""Machines: one module for each family, one YAML for each machine."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from codesign.arch.base import AnyMachine, Machine
from codesign.config import CodesignError, did_you_mean, load_spec, load_yaml, shipped, suggestion

PLUGINS = "codesign.architectures"


@cache
def families() -> dict[str, type[AnyMachine]]:
    """Every machine class by its files' `machine:`: siblings of this module and plug-ins.

    Raises CodesignError when two modules claim the same family.
    """
    found: dict[str, type[AnyMachine]] = {}
    modules = [import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__)]
    modules += [point.load() for point in entry_points(group=PLUGINS)]
    for module in modules:
        for family, machine in _machines_in(module):
            if family in found:
                raise CodesignError(
                    f"machine family {family!r} is defined twice, in {module.__name__}"
                )
            found[family] = machine
    return found


def _machines_in(module: ModuleType) -> list[tuple[str, type[AnyMachine]]]:
    own = [
        value
        for _, value in inspect.getmembers(module, inspect.isclass)
        if issubclass(value, Machine)
        and not inspect.isabstract(value)
        and hasattr(value, "spec_type")
        and value.__module__ == module.__name__
    ]
    return [
        (family, machine)
        for machine in own
        for family in machine.spec_type.model_fields["machine"].annotation.__args__  # type: ignore[union-attr]
    ]


def list_archs() -> list[tuple[str, Path]]:
    """Name and file of every machine that ships with the package, by name."""
    return [(path.stem, path) for path in sorted(shipped("arch_configs").glob("*.yaml"))]


def find_arch(name_or_path: str | Path) -> Path:
    """The file of a shipped machine, or the file itself. Raises CodesignError with a suggestion."""
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        return path
    known = dict(list_archs())
    if str(name_or_path) in known:
        return known[str(name_or_path)]
    meant = suggestion(str(name_or_path), list(known)) or "; `codesign arch list` names them"
    raise CodesignError(f"no machine is named {str(name_or_path)!r}{meant} (a file ends in .yaml)")


def load_arch(
    name_or_path: str | Path, overrides: Mapping[str, object] | None = None
) -> AnyMachine:
    """A machine from a shipped name or a YAML file, with fields replaced by dotted path.

    Raises ConfigError with every fault of the file and of the overrides.
    """
    path = find_arch(name_or_path)
    document = load_yaml(path)
    family = document.data.get("machine")
    machine = families().get(family) if isinstance(family, str) else None
    if machine is None:
        line = document.lines.get(("machine",), 1)
        if family is None:
            raise CodesignError(
                f"{document.name}: the key machine, which names the family, is missing"
            )
        meant = did_you_mean(str(family), list(families()))
        hint = f"did you mean {meant!r}?" if meant else f"there are {', '.join(sorted(families()))}"
        raise CodesignError(f"{document.name}:{line}: machine: no family {family!r}; {hint}")
    return machine(load_spec(machine.spec_type, document, overrides or {}))


def arch_schema() -> dict[str, Any]:
    """JSON Schema of a machine file, for editors: one alternative for each family."""
    schemas = [machine.spec_type.model_json_schema() for machine in families().values()]
    definitions: dict[str, Any] = {}
    for schema in schemas:
        definitions.update(schema.pop("$defs", {}))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "codesign machine",
        "oneOf": schemas,
        "$defs": definitions,
    }
