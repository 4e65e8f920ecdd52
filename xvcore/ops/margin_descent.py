"""Descent in which only the network is linearised: few passes of it, many steps of what is known in closed form."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from xvcore.ops.descent import Bookmark, State, Way
from xvcore.ops.mask_penalty import MaskPenalty
from xvcore.ops.probability import Margins
from xvcore.parameters import check, parameter
from xvcore.types import Maps

MOST_PULL = 0.25
"""Largest derivative of a probability by its log odds, at p = 1/2."""
N_HALVINGS = 20
"""Halvings of the interval of a pull: to 2.4e-7, below what single precision tells apart."""
N_SWEEPS = 3
"""Rounds over the pulls of several views, each solved with the others held."""


@runtime_checkable
class MarginProblem(Protocol):
    """A mean of probabilities, one a view, plus a penalty; each element of the batch by itself, values in [0, 1]."""

    @property
    def n_views(self) -> int:
        """Number of probabilities; step k looks at view k mod n."""

    def margins(self, values: Maps, step: int) -> tuple[Margins, Maps]:
        """Return the log odds of the step's view and the derivative of their sum by the values."""

    def penalty_at(self, step: int | None) -> MaskPenalty:
        """Return what values pay in a step; None is the penalty that the objective holds."""

    def of_images(self, chosen: Shaped[Tensor, " batch"]) -> "MarginProblem":
        """Return the problem of some elements only."""


@dataclass(frozen=True, slots=True)
class MarginDescent:
    """Minimises ``mean_v σ(margin_v(m)) + penalty(m)`` over m in [0, 1], the margins linearised, the rest as it is.

    One pass of the network gives margin (log odds of the target) and gradient ``g`` of one view. With every margin
    replaced by its linearisation, projected gradient steps follow, which cost no pass::

        m ← clip(m − length · (∇penalty(m) + mean_v pull_v g_v))     with |m − m₀| ≤ radius
        pull_v = σ'(margin_v + g_v · (m − m₀))

    The idea is the prox-linear method for a composition ``h(c(m))`` [1]_, of which only ``c`` is linearised. A
    probability says nothing where it is near 0 or 1, while its log odds go on telling which elements matter: that,
    and a penalty that is no longer followed at the network's pace, is why few passes do.

    Ours: the running mean of gradients, the radius in place of a quadratic term, views that take turns (the
    linearisations of the others are kept), and a pull above the margin 0 that stays at its largest, 1/4.

    Parameters
    ----------
    inner_steps : with one, the pulls are solved for, so that each is the derivative at the values it leads to; with
        several they follow

    References
    ----------
    .. [1] D. Drusvyatskiy, C. Paquette, "Efficiency of minimizing compositions of convex functions and smooth maps",
       Mathematical Programming 178, 2019.
    """

    length: float = parameter(
        2.0, "Length of the first step: the move of an element by its derivative, in shares of a mean", ge=0
    )
    last_length: float = parameter(0.2, "Length of the last step; between them it falls geometrically", ge=0)
    radius: float = parameter(0.3, "Most that an element moves after the first pass", ge=0, le=1)
    last_radius: float = parameter(0.05, "Most that an element moves after the last pass", ge=0, le=1)
    gradient_decay: float = parameter(0.5, "Share of the mean gradient that each pass keeps", ge=0, le=0.999999)
    inner_steps: int = parameter(1, "Steps after each pass of the network; they cost no pass", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(  # noqa: PLR0913  what a descent is given, and when it stops
        self,
        problem: MarginProblem,
        start: Maps,
        n_steps: int,
        bookmark: Bookmark | None = None,
        *,
        stop_window: int = 0,
        stop_tolerance: float = 0.0,
    ) -> tuple[Maps, Int[Tensor, " batch"]]:
        """Return the values reached and the number of passes each element took, at most ``n_steps``.

        With a bookmark the descent goes on from where an earlier attempt came to; the values are the same, bit by bit.

        Parameters
        ----------
        problem, start : what is minimised, and from where
        bookmark : remembers where the descent is
        stop_window : every so many passes each loss is compared with its value at the comparison before; 0 never
            stops early. Losses cost no pass
        stop_tolerance : an element whose loss fell by less leaves the batch with the values it has
        """
        way = Way.begun(start, n_steps, bookmark, lambda: _Planes([]), _Planes.left)
        if len(way.running) < len(start):
            problem = problem.of_images(way.running)
        for step in way.steps(n_steps, bookmark):
            way.memory.look(problem, way.values, step, self.gradient_decay)
            if stop_window and step % stop_window == 0 and len(way.memory.views) == problem.n_views:
                problem = way.leave(problem, self._losses(problem, way.memory.views, way.values), stop_tolerance)
                if not len(way.running):
                    break
            share = step / max(n_steps - 1, 1)
            length, radius = (
                _between(self.length, self.last_length, share),
                _between(self.radius, self.last_radius, share),
            )
            way.values = self._moved(way.values, way.memory.views, problem.penalty_at(step), length, radius)
        return way.ended(bookmark)

    def _losses(self, problem: MarginProblem, planes: Sequence["_Plane"], values: Maps) -> Float[Tensor, " batch"]:
        probabilities = torch.stack([plane.margins(values).sigmoid() for plane in planes])
        return probabilities.mean(dim=0) + problem.penalty_at(None)(values)

    def _moved(
        self, values: Maps, planes: Sequence["_Plane"], penalty: MaskPenalty, length: float, radius: float
    ) -> Maps:
        low, high = (values - radius).clamp_(min=0), (values + radius).clamp_(max=1)
        length /= penalty.share(values)
        moved = values
        for _ in range(self.inner_steps):
            slope = penalty.gradient(moved)
            if self.inner_steps == 1:
                pulls = _solved(planes, _Step(moved, slope, low, high, length))
            else:
                pulls = [_pull(plane.margins(moved)) / len(planes) for plane in planes]
            moved = _Step(moved, slope, low, high, length)(planes, pulls)
        return moved


@dataclass(frozen=True, slots=True)
class _Plane:
    """A view's margins as a linear function of the values: ``offset + gradient · values``."""

    offset: Margins
    gradient: Maps
    n_passes: int = 1

    @classmethod
    def of(cls, values: Maps, margins: Margins, gradient: Maps, n_passes: int = 1) -> "_Plane":
        """Return the plane through the margins seen at these values."""
        return cls(margins - _product(gradient, values), gradient, n_passes)

    def renewed(self, values: Maps, margins: Margins, gradient: Maps, decay: float) -> "_Plane":
        """Return the plane through the margins seen last, with the running mean of the gradients."""
        n_passes = self.n_passes + 1
        weight = (1 - decay) / (1 - decay**n_passes)
        return self.of(values, margins, self.gradient.lerp(gradient, weight), n_passes)

    def margins(self, values: Maps) -> Margins:
        """Return the margins that the plane foretells."""
        return self.offset + _product(self.gradient, values)

    def of_images(self, chosen: Tensor) -> "_Plane":
        """Return the plane of some elements, chosen by a boolean each."""
        return _Plane(self.offset[chosen], self.gradient[chosen], self.n_passes)


@dataclass(frozen=True, slots=True)
class _Planes:
    """The planes of the views that were looked at, in their order."""

    views: list[_Plane]

    @classmethod
    def left(cls, found: State, _step: int) -> "_Planes":
        """Take the planes out of what was kept of a descent."""
        passes = found.pop("passes").tolist()
        return cls(list(map(_Plane, found.pop("offsets"), found.pop("gradients"), passes)))

    def tensors(self) -> State:
        """Return them in tensors."""
        views = self.views
        return {
            "passes": torch.tensor([plane.n_passes for plane in views]),
            "offsets": torch.stack([plane.offset for plane in views]) if views else torch.zeros(0),
            "gradients": torch.stack([plane.gradient for plane in views]) if views else torch.zeros(0),
        }

    def look(self, problem: MarginProblem, values: Maps, step: int, decay: float) -> None:
        """Linearise the margins of the step's view where the values are: one pass of the network."""
        margins, gradient = problem.margins(values, step)
        view = step % problem.n_views
        if view == len(self.views):
            self.views.append(_Plane.of(values, margins, gradient))
        else:
            self.views[view] = self.views[view].renewed(values, margins, gradient, decay)

    def of_images(self, chosen: Tensor) -> "_Planes":
        """Return the planes of some elements, chosen by a boolean each."""
        return _Planes([plane.of_images(chosen) for plane in self.views])


@dataclass(frozen=True, slots=True)
class _Step:
    """A projected step down the penalty's slope and the gradients that pull."""

    values: Maps
    slope: Maps
    low: Maps
    high: Maps
    length: float

    def __call__(self, planes: Sequence[_Plane], pulls: Sequence[Margins]) -> Maps:
        """Return the values after the step."""
        direction = self.slope
        for plane, pull in zip(planes, pulls, strict=True):
            direction = torch.addcmul(direction, plane.gradient, pull.view(-1, 1, 1, 1))
        return torch.maximum(torch.minimum(self.values - self.length * direction, self.high), self.low)


def _solved(planes: Sequence[_Plane], step: _Step) -> list[Margins]:
    """Return the pulls that are the derivatives of the probabilities where they lead; of several roots the largest."""
    n_planes = len(planes)
    pulls = [torch.zeros_like(plane.offset) for plane in planes]
    for _ in range(N_SWEEPS if n_planes > 1 else 1):
        for index, plane in enumerate(planes):
            low, high = torch.zeros_like(plane.offset), torch.full_like(plane.offset, MOST_PULL / n_planes)
            for _ in range(N_HALVINGS):
                pulls[index] = (low + high) / 2
                is_weak = _pull(plane.margins(step(planes, pulls))) / n_planes > pulls[index]
                low, high = torch.where(is_weak, pulls[index], low), torch.where(is_weak, high, pulls[index])
            pulls[index] = high
    return pulls


def _pull(margins: Margins) -> Margins:
    """Return the derivative of the probability by its log odds; above 0 its largest."""
    probability = margins.clamp(max=0).sigmoid()
    return probability * (1 - probability)


def _product(gradient: Maps, values: Maps) -> Margins:
    return (gradient * values).sum(dim=(1, 2, 3))


def _between(first: float, last: float, share: float) -> float:
    """Return the value after a share of the way from first to last, geometrically where neither is 0."""
    if first and last:
        return float(first * (last / first) ** share)
    return first + (last - first) * share
