"""Weights replaced by structured ones: Pixelated Butterfly, Monarch, SliceGPT."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from codesign.config import CodesignError
from codesign.prune.base import Sparsifier
from codesign.prune.calibrated import add_tokens, gram
from codesign.prune.oneshot import FixedMask, as_tensor
from codesign.prune.products import differentiable
from codesign.prune.target import Target
from codesign.sparsity import factors
from codesign.sparsity.pattern import Columns, Dense, FlatButterfly, Pattern


class PixelatedButterfly(Sparsifier):
    """gamma * B + (1 - gamma) * U V^T: fixed butterfly blocks and a low rank, gamma learned.

    `rank` defaults to a sixteenth of the shorter side, at least 1. B starts as the weight inside
    the blocks; `finish` leaves the sum in the layer, the exported mask is that of B alone.
    """

    name = "pixelated_butterfly"
    paper = "Chen et al., ICLR 2022 (arXiv 2112.00029)"
    patterns = (FlatButterfly,)
    needs_optimizer = True

    def __init__(
        self, pattern: Pattern | str, *, seed: int = 0, rank: int = 0, gamma: float = 0.9
    ) -> None:
        super().__init__(pattern, seed=seed)
        self.rank, self.gamma = rank, gamma
        self.low: dict[str, tuple[nn.Parameter, nn.Parameter, nn.Parameter]] = {}

    def choose(self, target: Target) -> Tensor:
        return as_tensor(self.pattern.sample(*target.shape, 0), target.weight)

    def start(self) -> None:
        super().start()
        random = torch.Generator().manual_seed(self.seed)
        for target in self.targets:
            gamma = nn.Parameter(torch.tensor(self.gamma).to(target.weight))
            self.low[target.key] = gamma, *target.low_rank(self.rank, random)

    def parameters(self) -> list[nn.Parameter]:
        return [part for parts in self.low.values() for part in parts]

    def _whole(self, target: Target, weight: Tensor) -> Tensor:
        assert target.mask is not None
        gamma, up, down = self.low[target.key]
        sparse = target.masked(weight, target.mask)
        return gamma * sparse + (1 - gamma) * target.shaped(up @ down)

    def output(self, target: Target, x: Tensor) -> Tensor:
        return differentiable(x, target.layer, self._whole(target, target.layer.weight))

    def weight(self, target: Target) -> Tensor:
        return self._whole(target, target.weight.detach()).detach()


class Monarch(Sparsifier):
    """Every layer is the nearest Monarch matrix to its weights, projected after each `every` steps.

    The projection is the truncated singular vectors of each block of a `blocks` x `blocks` grid.
    Nothing is zero, so there are no masks: `form` says what a machine has to multiply.
    """

    name = "monarch"
    paper = "Dao et al., ICML 2022 (arXiv 2204.00595), section 3.3"
    patterns = (Dense,)

    def __init__(
        self,
        pattern: Pattern | str = "dense",
        *,
        seed: int = 0,
        blocks: int = 4,
        rank: int = 0,
        every: int = 1,
    ) -> None:
        super().__init__(pattern, seed=seed)
        self.form, self.every = factors.Monarch(blocks, rank), every

    def start(self) -> None:
        for target in self.targets:
            rows = target.rows().double().cpu().numpy()
            nearest = self.form.dense(self.form.project(rows), *target.shape)
            target.weight.copy_(target.shaped(torch.from_numpy(nearest).to(target.weight)))

    def advance(self) -> None:
        if self.step % self.every == 0:
            self.start()

    def density(self) -> float:
        """Elements of the factors over those of the weights."""
        sizes = [(t.shape, self.form.density(*t.shape)) for t in self.targets]
        return sum(n * k * d for (n, k), d in sizes) / sum(n * k for (n, k), _ in sizes)


class SliceGPT(FixedMask):
    """Inputs are rotated to their principal components and the last of them are deleted.

    W becomes (W Q) with its last columns deleted, after x Q; Q holds the eigenvectors of x x^T by
    falling eigenvalue. `sliced` gives the smaller weight and the rotation. Masks count the deleted
    columns of W Q, the matrix that is multiplied. In a network of RMSNorm and linear layers the
    rotations of neighbours fold into their weights; here each layer keeps its own.
    """

    name = "slicegpt"
    paper = "Ashkboos et al., ICLR 2024 (arXiv 2401.15024)"
    patterns = (Columns,)
    needs_data = True

    def observe(self, target: Target, x: Tensor) -> None:
        add_tokens(target.state, target.inputs(x.detach()))

    def fit(self) -> None:
        assert isinstance(self.pattern, Columns)
        for target in self.targets:
            if "gram" not in target.state:
                raise CodesignError(f"{target.name}: no calibration input reached the layer")
            vectors = torch.linalg.eigh(gram(target.state).double()).eigenvectors.flip(1)
            kept = self.pattern.kept(target.shape[1])
            target.state = {"rotation": vectors[:, :kept].to(target.weight)}
            target.mask = torch.zeros(target.shape, dtype=torch.bool, device=target.weight.device)
            target.mask[:, :kept] = True

    def sliced(self, name: str) -> tuple[Tensor, Tensor]:
        """The smaller weight [n, kept] and the rotation [k, kept] of a layer, by its name."""
        target = next(t for t in self.targets if t.name == name)
        rotation = target.state["rotation"]
        return target.rows() @ rotation, rotation

    def weight(self, target: Target) -> Tensor:
        if "rotation" not in target.state:
            return target.weight.detach()
        rotation = target.state["rotation"]
        return target.shaped(target.rows() @ rotation @ rotation.t())

    def gradient(self, target: Target, gradient: Tensor) -> Tensor:
        if "rotation" not in target.state:
            return gradient
        rotation = target.state["rotation"]
        return target.shaped(target.rows(gradient) @ rotation @ rotation.t())
