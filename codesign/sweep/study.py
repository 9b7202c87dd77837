"""What a sweep file states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from codesign.config import CodesignError, Spec, suggestion

Scalar = bool | int | float | str
Goal = Literal["minimize", "maximize"]
Method = Literal["grid", "random", "quasi_random", "tpe", "nsga2", "cmaes"]
FidelityName = Literal["tile", "row", "cycle"]
ExecutorName = Literal["serial", "thread", "process", "ray"]
AccuracyKind = Literal["published", "measured", "proxy"]

ROOTS = ("workload", "arch", "sparsity", "mapping")
"""The first word of a parameter's path; `seed` stands alone."""


class WorkloadChoice(Spec):
    """What is run; `set` replaces hyper-parameters of the workload's file by dotted path."""

    name: str = Field(min_length=1)
    phase: Literal["inference", "training", "prefill", "decode"] | None = None
    batch: int = Field(default=1, ge=1)
    seq: int | None = Field(default=None, ge=1)
    context: int | None = Field(default=None, ge=0)
    image: int | None = Field(default=None, ge=1)
    dtype: str | None = None
    optimizer: str | None = None
    set: dict[str, Scalar] = Field(default_factory=dict)


class ArchChoice(Spec):
    """On what it runs; `set` replaces values of the machine's file by dotted path."""

    name: str = Field(min_length=1)
    set: dict[str, Scalar] = Field(default_factory=dict)


class SparsityChoice(Spec):
    """Which zeros it has: a pattern, the layers that get it, the products of training.

    Without a pattern a workload keeps the masks that it was saved with.
    """

    pattern: str | None = None
    where: str = "*"
    method: str | None = None


class MappingChoice(Spec):
    """How operators are laid on the machine, and what a search for that minimises."""

    mapper: Literal["heuristic", "search", "exhaustive"] = "heuristic"
    objective: Literal["latency", "energy", "edp"] = "latency"
    budget: int = Field(default=16, ge=1, le=100_000, description="simulations for each operator")
    keep_on_chip: bool = Field(
        default=False, description="whether feature maps may stay in scratchpads between operators"
    )
    fuse: bool = Field(
        default=False, description="whether vector work may follow on each tile of a product"
    )
    place: bool = Field(
        default=False, description="whether each operator gets a core of its own, or all, by choice"
    )


class Parameter(Spec):
    """Values that a path takes, or a range of them."""

    values: tuple[Scalar, ...] | None = Field(default=None, min_length=1)
    min: int | float | None = None
    max: int | float | None = None
    distribution: Literal["uniform", "log_uniform", "int_uniform", "int_log_uniform"] | None = None
    also: tuple[str, ...] = ()
    """Other paths that take the same value."""
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)
    """The parameter is there only where others have one of these values."""

    @model_validator(mode="after")
    def _values_or_range(self) -> Parameter:
        if self.values is not None:
            if self.min is not None or self.max is not None or self.distribution is not None:
                raise CodesignError("a parameter has values, or min and max: not both")
            repeated = [v for i, v in enumerate(self.values) if _held(v, self.values[:i])]
            if repeated:
                raise CodesignError(f"the value {repeated[0]!r} is listed twice")
            return self
        if self.min is None or self.max is None:
            raise CodesignError("a parameter has values, or min and max")
        if self.min >= self.max:
            raise CodesignError(f"min {self.min:g} is not below max {self.max:g}")
        if self.shape.endswith("log_uniform") and self.min <= 0:
            raise CodesignError("min of a logarithmic range is above 0")
        if self.shape.startswith("int") and not (
            isinstance(self.min, int) and isinstance(self.max, int)
        ):
            raise CodesignError(f"min and max of {self.shape} are whole numbers")
        return self

    @property
    def shape(self) -> str:
        """The distribution of a range: whole numbers where both ends are."""
        if self.distribution is not None:
            return self.distribution
        whole = isinstance(self.min, int) and isinstance(self.max, int)
        return "int_uniform" if whole else "uniform"


def is_file_name(name: str) -> bool:
    """Whether the name of a machine or a workload is that of a file."""
    return ":" not in name and (Path(name).suffix in (".yaml", ".yml", ".json") or "/" in name)


def _held(value: Scalar, others: tuple[Scalar, ...]) -> bool:
    return any(type(value) is type(other) and value == other for other in others)


class Execution(Spec):
    """Where points are evaluated, and when one is given up."""

    executor: ExecutorName = "process"
    workers: int | None = Field(default=None, ge=1, le=4096)
    address: str | None = None
    timeout_s: float = Field(default=600.0, gt=0)
    memory_bytes: int | None = Field(default=None, ge=1 << 26)
    """Address space that a worker process may use beyond what it starts with."""
    retries: int = Field(default=1, ge=0, le=100)
    """How often a point is tried again whose worker died."""


class Promote(Spec):
    """The points of the front are run again, followed more closely."""

    fidelity: FidelityName
    top: int | None = Field(default=None, ge=1)
    """At most so many, the best by the first metric first."""


class Study(Spec):
    """A sweep: a base design, the parameters that vary, how they are chosen, and what is wanted."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w.-]+$")]
    description: str = ""
    workload: str | WorkloadChoice
    arch: str | ArchChoice
    sparsity: str | SparsityChoice | None = None
    mapping: MappingChoice = MappingChoice()
    fidelity: FidelityName = "tile"
    accuracy: AccuracyKind | None = None
    method: Method
    metrics: dict[str, Goal] = Field(min_length=1)
    parameters: dict[str, Parameter] = Field(min_length=1)
    constraints: tuple[str, ...] = ()
    run_cap: int | None = Field(default=None, ge=1, le=100_000_000)
    population: int = Field(default=50, ge=2, le=100_000)
    """Points that NSGA-II, CMA-ES and TPE propose before they see results."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    execution: Execution = Execution()
    promote: Promote | None = None
    output: str | None = None

    _folder: Path | None = PrivateAttr(default=None)

    def read_from(self, folder: Path) -> Study:
        """The same sweep, which looks for the files that it names in a folder first."""
        study = self.model_copy()
        study._folder = folder
        return study

    def located(self, name: str) -> str:
        """The file of a machine or a workload that the sweep names; a shipped name is itself.

        It is looked for beside the sweep, then in the current folder. Raises CodesignError for a
        file that is in neither place.
        """
        if self._folder is None or not is_file_name(name):
            return name
        paths = (self._folder / name, Path(name))
        for path in paths:
            if path.is_file():
                return str(path)
        folders = [path.parent for path in paths if path.parent.is_dir()]
        there = sorted({own.name for folder in folders for own in folder.iterdir()})
        raise CodesignError(
            f"{name}: there is no such file, neither beside the sweep ({self._folder.resolve()}) "
            f"nor in the current folder ({Path.cwd()})" + suggestion(Path(name).name, there)
        )

    @property
    def base_workload(self) -> WorkloadChoice:
        chosen = self.workload
        return WorkloadChoice(name=chosen) if isinstance(chosen, str) else chosen

    @property
    def base_arch(self) -> ArchChoice:
        return ArchChoice(name=self.arch) if isinstance(self.arch, str) else self.arch

    @property
    def base_sparsity(self) -> SparsityChoice:
        chosen = self.sparsity
        return chosen if isinstance(chosen, SparsityChoice) else SparsityChoice(pattern=chosen)


PATH = re.compile(r"[A-Za-z_][\w-]*(\.[\w-]+)*", re.ASCII)
