"""Extremal perturbations: of all smooth masks of an area, the one that matters most to the score.

A mask ``m`` is 1 on what matters. A picture is blurred where it is not kept: ``m ⊗ x`` shows at each place the picture
``x`` blurred with sigma ``(1 − m) σ_max``. For each area ``a`` [1]_::

    m_a = argmax_m Φ(m ⊗ x)  over the smooth masks with mean a               (preserve)
    m_a = argmax_m −Φ((1 − m) ⊗ x)                                           (delete)
    m_a = argmax_m Φ(m ⊗ x) − Φ((1 − m) ⊗ x)                                 (hybrid)

found by gradient steps on ``Φ − λ mean (vecsort(m) − r_a)²``, whose last term is 0 for binary masks of area a. Smooth
masks are the largest of bumps on a grid (:class:`~xvcore.ops.max_convolution.MaxConvolution`). The extremal one is that
of the smallest area whose probability reaches a share of the full one: ``a* = min {a : Φ(m_a ⊗ x) ≥ τ Φ(x)}``.

Unlike a sparse mask it says *how much* of the picture at most, not how little; unless the game is *delete* it is
evidence of what is enough for the network when the rest is blurred, not of what it cannot do without.

References
----------
.. [1] R. Fong, M. Patrick, A. Vedaldi, "Understanding Deep Networks via Extremal Perturbations and Smooth Masks",
   ICCV 2019.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import ParameterError, XvError
from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.ops.area_constraint import AreaConstraint
from xvcore.ops.blur_pyramid import BlurPyramid
from xvcore.ops.max_convolution import MaxConvolution
from xvcore.ops.memory import in_halves
from xvcore.ops.momentum import Momentum
from xvcore.ops.perturb import Baseline
from xvcore.parameters import check, parameter
from xvcore.types import Images, Maps, Targets
from xvcore.visual_summaries.method.judged_masks import Judge, JudgedMasks, binarised, first_that_suffices

Game = Literal["preserve", "delete", "hybrid"]
PARTS: dict[Game, tuple[tuple[float, bool], ...]] = {
    "preserve": ((1.0, False),),
    "delete": ((-1.0, True),),
    "hybrid": ((1.0, False), (-1.0, True)),
}
"""Scores that a game adds up: the sign of each, and whether it is of the picture without what the mask marks."""


@dataclass(frozen=True, slots=True)
class ExtremalMasks(JudgedMasks):
    """The extremal masks of a batch; ``smooth`` and ``crisp`` are 1 minus the mask of the chosen area.

    Parameters
    ----------
    of_areas : the mask of each area, in the order of the areas; 1 on what matters
    reached : what the mask of each area reaches, as a share of the full probability: what it preserves, loses, or both
    place : of the chosen area among the areas
    """

    of_areas: Float[Tensor, "batch areas height width"]
    reached: Float[Tensor, "batch areas"]
    place: Int[Tensor, " batch"]


@methods.register("extremal_perturbation")
@dataclass(frozen=True, slots=True)
class ExtremalPerturbation:
    """Extremal perturbations of several areas [1]_; constants are those of the authors' published code.

    Notes
    -----
    Choices where paper and code differ, or leave some: the area is a share of the picture (the code counts a margin
    around it too); cells are centred, so that a mirrored picture has the mirrored mask; Φ is the logit, as in the code,
    but the smallest area is chosen by the probability, since a share of a logit means nothing where it may be negative.
    Where no area reaches the share, the largest one is taken.
    """

    areas: tuple[float, ...] = parameter(
        (0.025, 0.05, 0.1, 0.2), "Areas of the masks, rising, each a share of the picture", ge=0, le=1
    )
    game: Game = parameter(
        "preserve", "What a mask does: keep the score, take it away, or keep it where its complement takes it away"
    )
    share: float = parameter(
        0.9, "Share of the full probability from which an area suffices; the smallest such one is chosen", ge=0, le=1
    )
    n_steps: int = parameter(800, "Steps, a pass of the network for each area", ge=0)
    momentum: Momentum = parameter(Momentum(), "The optimiser")
    area_weight: float = parameter(300.0, "Weight of the area's constraint in the first step", ge=0)
    area_growth: float = parameter(1.0035, "Factor by which that weight grows from step to step", ge=1)
    cell_px: int = parameter(7, "Width of a cell of the masks' grid, in pixels", ge=1)
    sigma_px: float = parameter(21.0, "Scale of the bump on a cell, in pixels", ge=1)
    coldness: float = parameter(20.0, "How near the smooth maximum of the bumps is to the maximum", ge=0)
    n_levels: int = parameter(8, "Levels of the pyramid of blurs", ge=2)
    blur_px: float = parameter(20.0, "Sigma of the strongest blur, in pixels", ge=0.1)
    mirrored: bool = parameter(default=True, description="Mirror the perturbed picture in every other step")
    baseline: Baseline = parameter("blur_weak", "What replaces a removed pixel where the chosen mask is judged (ours)")
    seed: int = parameter(0, "Seed of the noise under which masks are judged", ge=0)

    def __post_init__(self) -> None:
        check(self)
        if not self.areas or list(self.areas) != sorted(set(self.areas)):
            raise ParameterError(f"areas = {self.areas}: expected at least one, rising")

    @torch.no_grad()
    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> ExtremalMasks:
        """Return the masks of each image for its target.

        Raises
        ------
        XvError
            A mask is not finite: the network's numbers overflowed.
        torch.OutOfMemoryError
            Not even one image fits into the device's memory.
        """
        return ExtremalMasks.joined(in_halves(partial(self._explain, classifier), images, targets))

    def _explain(self, classifier: Classifier, images: Images, targets: Targets) -> ExtremalMasks:
        n_areas = len(self.areas)
        pyramid = BlurPyramid.of(images, self.n_levels, self.blur_px)
        repeated = BlurPyramid(pyramid.levels.repeat_interleave(n_areas, dim=1))
        game = _Played(classifier, repeated, targets.repeat_interleave(n_areas), PARTS[self.game])
        masks = self._optimised(game, images)
        if not masks.isfinite().all():
            raise XvError(f"masks are not finite: {classifier.name} overflows")
        judge = Judge(classifier, images, targets, self.baseline, self.seed)
        full = judge(torch.ones_like(images[:, :1]))
        reached = self._reached(game, masks).unflatten(0, (len(images), n_areas)) / full[:, None]
        of_areas = masks.unflatten(0, (len(images), n_areas)).squeeze(2)
        place = first_that_suffices(reached >= self.share)
        smooth = 1 - of_areas[torch.arange(len(images)), place][:, None]
        n_passes = self.n_steps * n_areas * len(PARTS[self.game])
        judged = judge.judged(smooth, binarised(smooth), n_passes)
        return ExtremalMasks(**judged, of_areas=of_areas, reached=reached, place=place)

    def _optimised(self, game: "_Played", images: Images) -> Float[Tensor, "maps 1 height width"]:
        """Return the masks of all areas of the first image, then those of the second, …."""
        shown = MaxConvolution(
            (images.shape[2], images.shape[3]),
            self.cell_px,
            self.sigma_px,
            self.coldness,
            images.dtype,
            images.device,
        )
        areas = torch.tensor(self.areas, dtype=torch.float64, device=images.device).repeat(len(images))
        constraint = AreaConstraint(areas)
        elements = torch.ones(len(areas), 1, *shown.grid, dtype=images.dtype, device=images.device)
        mover = self.momentum.start()
        weight = self.area_weight
        for step in range(self.n_steps):
            masks = shown(elements)
            gradient = (
                constraint.gradient(masks)
                .mul_(weight)
                .sub_(game.gradient(masks, is_mirrored=self.mirrored and step % 2 == 0))
            )
            mover.step_(elements, shown.pulled_back(elements, gradient))
            elements.clamp_(0, 1)
            weight *= self.area_growth
        return shown(elements)

    def _reached(self, game: "_Played", masks: Maps) -> Float[Tensor, " maps"]:
        """Return the probability that a mask keeps, takes away, or keeps more than its complement."""
        everything = torch.ones_like(masks)
        found = game.probability(everything if self.game == "delete" else masks)
        return found if self.game == "preserve" else found - game.probability(masks, is_complement=True)


@dataclass(frozen=True, slots=True)
class _Played:
    """A game: the score that masks are to make large.

    Parameters
    ----------
    pyramid, targets : of each mask
    parts : of the score, as in ``PARTS``
    """

    classifier: Classifier
    pyramid: BlurPyramid
    targets: Targets
    parts: tuple[tuple[float, bool], ...]

    def gradient(self, masks: Maps, *, is_mirrored: bool) -> Maps:
        """Return the derivative of the game's score by the masks."""
        total = torch.zeros_like(masks)
        for sign, is_complement in self.parts:
            pictures, slopes = self.pyramid.with_derivative(1 - masks if is_complement else masks)
            by_pixel = self._score_gradient(pictures.flip(3) if is_mirrored else pictures)
            if is_mirrored:
                by_pixel = by_pixel.flip(3)
            total.add_((by_pixel * slopes).sum(dim=1, keepdim=True), alpha=-sign if is_complement else sign)
        return total

    def probability(self, masks: Maps, *, is_complement: bool = False) -> Float[Tensor, " maps"]:
        """Return the probability of each target where its picture is kept as the mask, or its complement, says."""
        pictures = self.pyramid(1 - masks if is_complement else masks)
        return self.classifier.probabilities(pictures).gather(1, self.targets[:, None]).squeeze(1)

    def _score_gradient(self, pictures: Images) -> Images:
        with torch.enable_grad():
            pictures = pictures.detach().requires_grad_()
            scores = self.classifier.logits(pictures).gather(1, self.targets[:, None])
            (gradient,) = torch.autograd.grad(scores.sum(), pictures)
        return gradient
