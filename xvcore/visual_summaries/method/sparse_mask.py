"""Sparse, crisp masks: the few pixels whose removal takes the decision away.

A mask ``m`` keeps a pixel where it is 1 and replaces it by a baseline, e.g. a blurred picture, where it is 0::

    picture(m) = m · image + (1 − m) · baseline

What is minimised, for each image by itself, is the probability of the target plus what the mask pays for its area, its
raggedness and its softness [1]_::

    p_target(picture(m)) + λ_area mean |1 − m| + λ_variation TV(m) + λ_crispness mean |m (1 − m)|

first over a coarse grid of 8 × 8 pixel cells (*smooth*: where is the evidence?), then over the pixels from there on
(*crisp*: which pixels exactly?).

>>> masks = SparseMask()(classifier, images, targets)  # doctest: +SKIP
>>> masks.drop_crisp, masks.area_crisp                 # doctest: +SKIP

References
----------
.. [1] M. Godi, M. Carletti, M. Aghaei, F. Giuliari, M. Cristani, "Understanding Deep Architectures by Visual
   Summaries", BMVC 2018.
.. [2] R. Fong, A. Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from xvcore.errors import XvError
from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.ops.adam import Adam
from xvcore.ops.channels_last import ChannelsLast
from xvcore.ops.coarse_grid import CoarseGrid, CoarseMaps, Upsampling
from xvcore.ops.descent import Bookmark, Descent
from xvcore.ops.disc import smallest_disc, without_disc
from xvcore.ops.jitter import Jitter
from xvcore.ops.mask_penalty import MaskPenalty
from xvcore.ops.memory import in_halves
from xvcore.ops.perturb import Baseline, Perturbation, baseline, gaussian_blur
from xvcore.ops.probability import Precision, TargetProbability
from xvcore.parameters import check, parameter
from xvcore.types import Images, Maps, Probabilities, Targets

KEPT = 0.5
"""A binarised mask keeps the pixels that are not below."""
DISC_BLUR_SIGMA = 10.0
"""Blur in pixels of the smallest disc before the descent starts there [2]_."""
Bookmarks = Callable[[str], Bookmark]
"""Gives a bookmark for the descent of a name."""


@dataclass(frozen=True, slots=True)
class SparseMasks:
    """Masks of a batch of images and the probabilities that judge them.

    Parameters
    ----------
    low : the smooth stage's optimum on its coarse grid, in [0, 1], 1 keeps
    smooth : the same at the input's size, upsampled and blurred
    crisp : the crisp stage's optimum, nearly binary
    prob_full, prob_smooth, prob_crisp, prob_blurred : probability of the target for the image, under the smooth mask,
        under the crisp mask **binarised at 0.5** (below it a pixel is removed), and for the baseline alone
    smooth_iterations, crisp_iterations : steps taken in each stage
    """

    low: CoarseMaps
    smooth: Maps
    crisp: Maps
    prob_full: Probabilities
    prob_smooth: Probabilities
    prob_crisp: Probabilities
    prob_blurred: Probabilities
    smooth_iterations: Int[Tensor, " batch"]
    crisp_iterations: Int[Tensor, " batch"]

    @classmethod
    def joined(cls, parts: Sequence["SparseMasks"]) -> "SparseMasks":
        """Return the masks of several batches as those of one."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    @property
    def removed(self) -> Bool[Tensor, "batch 1 height width"]:
        """The pixels that the crisp mask removes: what the decision stands on."""
        return self.crisp < KEPT

    @property
    def area_crisp(self) -> Float[Tensor, " batch"]:
        """Share of the pixels that the binarised crisp mask removes."""
        return _area(self.crisp)

    @property
    def area_smooth(self) -> Float[Tensor, " batch"]:
        """Share of the pixels that the binarised smooth mask removes."""
        return _area(self.smooth)

    @property
    def drop_crisp(self) -> Float[Tensor, " batch"]:
        """Relative drop ``(p − p_masked) / p`` of the probability under the binarised crisp mask."""
        return (self.prob_full - self.prob_crisp) / self.prob_full

    @property
    def drop_smooth(self) -> Float[Tensor, " batch"]:
        """Relative drop of the probability under the smooth mask."""
        return (self.prob_full - self.prob_smooth) / self.prob_full

    @property
    def crispness(self) -> Float[Tensor, " batch"]:
        """Mean of ``m (1 − m)`` over the crisp mask before it is binarised: 0 if binary, at most 0.25."""
        return (self.crisp * (1 - self.crisp)).mean(dim=(1, 2, 3))


@methods.register("sparse_mask")
@dataclass(frozen=True, slots=True)
class SparseMask:
    """Sparse masks in two stages, smooth then crisp; the defaults are the constants of the authors' last code [1]_.

    Notes
    -----
    Each image is optimised by itself: losses are summed over the batch and Adam's state is per element, so that a mask
    depends neither on the batch's size nor on its order, but for the rounding of the network's arithmetic, which many
    steps amplify. How much depends on the network, and a batch of one rounds otherwise than larger ones. SqueezeNet 1.1
    on a CPU: batches of two to four agree bit for bit, a batch of one differs in 0.4 % of the binary mask's pixels
    after 60 steps. Networks whose probability jumps with the input are far worse, and there not even the final masks
    are the same: of an untrained ``timm/spnasnet_100`` (normalisations fitted to eight photographs, logits of deviation
    7) the binary masks of two photographs, alone against together with the defaults, differ in 0.04 % and 40 % of all
    pixels, and what they remove hardly overlaps (areas 0 and .0004, where the empty mask takes nothing away; .39 and
    .14, intersection over union .13). After 3 + 3 steps, soft masks differ by more than .001 in 0 and 43 % of their
    pixels there, and in 73 and 76 % for ``regnet_x_800mf`` made in the same way; in float64 by less than 1e-9.
    A batch that does not fit into the device's memory goes in halves.

    Choices where the source leaves some: the smooth mask that is handed to the crisp stage is the blurred one, which is
    the one whose probability was optimised, in full precision; ``png_round_trip`` passes it through the original's
    8-bit file instead.
    """

    steps: int | None = parameter(
        None, "Total number of steps, shared 2 : 1 between the stages; when given, it sets smooth and crisp steps", ge=3
    )
    smooth_steps: int = parameter(300, "Steps of the smooth stage", ge=0)
    smooth_area_weight: float = parameter(0.5, "Weight of the area in the smooth stage (0.01 before May 2018)", ge=0)
    smooth_variation_weight: float = parameter(
        1e-2, "Weight of the total variation in the smooth stage (1e-4 before May 2018)", ge=0
    )
    smooth_crispness_weight: float = parameter(0.0, "Weight of the softness in the smooth stage", ge=0)
    crisp_steps: int = parameter(150, "Steps of the crisp stage; 0 leaves the smooth mask as it is", ge=0)
    crisp_area_weight: float = parameter(0.01, "Weight of the area in the crisp stage", ge=0)
    crisp_variation_weight: float = parameter(1.0, "Weight of the total variation in the crisp stage", ge=0)
    crisp_crispness_weight: float = parameter(2.0, "Weight of the softness in the crisp stage (the lasso)", ge=0)
    variation: Literal["anisotropic", "isotropic"] = parameter("anisotropic", "Form of the total variation")
    variation_power: float = parameter(3.0, "Exponent of the total variation", ge=1)
    reduction: Literal["mean", "sum"] = parameter("mean", "Whether the mask's penalties are means or sums")
    baseline: Baseline = parameter("blur_weak", "What replaces a removed pixel")
    cell_px: int = parameter(8, "Width of a cell of the coarse grid, in pixels", ge=1)
    upsampling: Upsampling = parameter("bilinear", "How the coarse grid becomes pixels")
    mask_blur: float = parameter(5.0, "Sigma in pixels of the blur of the upsampled mask; 0 is none", ge=0)
    blur_gradient: Literal["straight_through", "differentiated"] = parameter(
        "straight_through", "Whether the gradient passes the blur of the mask unchanged, as in the original"
    )
    start: Literal["disc", "smallest_disc"] = parameter(
        "disc", "Coarse mask to start from: the inscribed disc removed, or the smallest that takes the decision away"
    )
    png_round_trip: bool = parameter(
        default=False, description="Stretch and quantise the smooth mask to 8 bits before the crisp stage"
    )
    jitter_px: int = parameter(0, "Shifts of the picture per step, drawn from 0 … jitter − 1; 0 is none", ge=0)
    adam: Adam = parameter(Adam(), "The optimiser")
    stop_window: int = parameter(
        0, "An image is finished when its loss falls too little in so many steps; 0 never", ge=0
    )
    stop_tolerance: float = parameter(1e-3, "Fall of the loss (in units of probability) that is too little", ge=0)
    precision: Precision = parameter(
        "float32", "Arithmetic of the network (mixed precision where below float32); masks stay as the images"
    )
    compile: bool = parameter(default=False, description="Compile the network with torch.compile")
    seed: int = parameter(0, "Seed of noise baseline and jitter", ge=0)

    def __post_init__(self) -> None:
        check(self)
        if self.steps is not None:
            for name, value in {"crisp_steps": self.steps // 3, "smooth_steps": self.steps - self.steps // 3}.items():
                object.__setattr__(self, name, value)
            object.__setattr__(self, "steps", None)

    @classmethod
    def before_may_2018(cls) -> "SparseMask":
        """Return the method with the smooth stage's weights at the time of the first preprint."""
        return cls(smooth_area_weight=0.01, smooth_variation_weight=1e-4)

    @classmethod
    def fong_vedaldi(cls) -> "SparseMask":
        """Return the one-stage original [2]_, but for its 8-bit arithmetic."""
        return cls(
            smooth_steps=300,
            smooth_area_weight=1e-4,
            smooth_variation_weight=1e-2,
            crisp_steps=0,
            variation="isotropic",
            reduction="sum",
            baseline="blur_strong",
            upsampling="nearest",
            start="smallest_disc",
            jitter_px=4,
        )

    @torch.no_grad()
    def __call__(
        self, classifier: Classifier, images: Images, targets: Targets, bookmarks: Bookmarks | None = None
    ) -> SparseMasks:
        """Return the masks of each image for its target.

        Parameters
        ----------
        classifier, images, targets : the network, a batch, and the output that each of its images is explained for
        bookmarks : remember where the stages are, so that the same batch goes on from there when it was killed; the
            masks are the same, bit by bit

        Raises
        ------
        XvError
            A mask is not finite: the network's numbers overflowed.
        torch.OutOfMemoryError
            Not even one image fits into the device's memory.
        """
        places = torch.arange(len(images))
        return SparseMasks.joined(in_halves(partial(self._explain, classifier, bookmarks), images, targets, places))

    def _explain(
        self,
        classifier: Classifier,
        bookmarks: Bookmarks | None,
        images: Images,
        targets: Targets,
        places: Int[Tensor, " batch"],
    ) -> SparseMasks:
        probability = TargetProbability(self._prepared(classifier).logits, self.precision)
        perturbation = self._perturbation(images)
        jitter = Jitter(self.jitter_px, self.seed)
        movable = self._perturbation(jitter.enlarged(images)) if jitter.px else perturbation
        stage = partial(_Stage, probability, targets, movable, jitter)
        descent = Descent(self.adam, self.stop_window, self.stop_tolerance)

        def mark(name: str) -> Bookmark | None:
            return bookmarks(f"{name}, images {places[0]} … {places[-1]}") if bookmarks else None

        grid = self._grid(images)
        start = self._start(grid, lambda masks: probability(perturbation(masks), targets), images)
        problem = stage(self._smooth_penalty(), grid)
        low, smooth_iterations = descent(problem, start, self.smooth_steps, mark("smooth"))
        smooth = grid(low).clamp(0, 1)

        start = _through_png(smooth) if self.png_round_trip else smooth
        problem = stage(self._crisp_penalty(), None)
        crisp, crisp_iterations = descent(problem, start, self.crisp_steps, mark("crisp"))
        if not crisp.isfinite().all():
            raise XvError(f"masks are not finite: {classifier.name} overflows in {self.precision}")
        return SparseMasks(
            low=low,
            smooth=smooth,
            crisp=crisp,
            prob_full=probability(images, targets),
            prob_smooth=probability(perturbation(smooth), targets),
            prob_crisp=probability(perturbation((crisp >= KEPT).to(crisp)), targets),
            prob_blurred=probability(perturbation.baseline, targets),
            smooth_iterations=smooth_iterations,
            crisp_iterations=crisp_iterations,
        )

    def _prepared(self, classifier: Classifier) -> Classifier:
        network = ChannelsLast(classifier.network)
        if self.compile:
            network.compile(fullgraph=True)
        return replace(classifier, network=network)

    def _perturbation(self, images: Images) -> Perturbation:
        return Perturbation.of(images, baseline(images, self.baseline, seed=self.seed))

    def _grid(self, images: Images) -> CoarseGrid:
        return CoarseGrid.over(
            images,
            cell_px=self.cell_px,
            upsampling=self.upsampling,
            blur_sigma=self.mask_blur,
            is_straight_through=self.blur_gradient == "straight_through",
        )

    def _start(self, grid: CoarseGrid, probability: Callable[[Maps], Probabilities], images: Images) -> CoarseMaps:
        """Return the coarse masks that the smooth stage starts from."""
        height, width = grid.size
        if self.start == "smallest_disc":
            discs = gaussian_blur(smallest_disc(probability, images[:, :1]), DISC_BLUR_SIGMA)
            return F.interpolate(discs, grid.size, mode="nearest-exact")
        return without_disc(height, width, min(height, width) / 2).to(images).repeat(len(images), 1, 1, 1)

    def _smooth_penalty(self) -> MaskPenalty:
        weights = self.smooth_area_weight, self.smooth_variation_weight, self.smooth_crispness_weight
        return MaskPenalty(*weights, self.variation_power, self.variation == "isotropic", self.reduction == "sum")

    def _crisp_penalty(self) -> MaskPenalty:
        weights = self.crisp_area_weight, self.crisp_variation_weight, self.crisp_crispness_weight
        return MaskPenalty(*weights, self.variation_power, self.variation == "isotropic", self.reduction == "sum")


@dataclass(frozen=True, slots=True)
class _Stage:
    """The loss of one stage as a function of its variable: a coarse grid of elements, or without a grid the pixels."""

    probability: TargetProbability
    targets: Targets
    perturbation: Perturbation
    jitter: Jitter
    penalty: MaskPenalty
    grid: CoarseGrid | None

    def losses(self, values: Maps, step: int) -> Float[Tensor, " batch"]:
        masks = values if self.grid is None else self.grid(values)
        return self.probability(self._seen(masks, step)(masks), self.targets) + self.penalty(values)

    def gradient(self, values: Maps, step: int) -> Maps:
        masks = values if self.grid is None else self.grid(values)
        seen = self._seen(masks, step)
        gradient = seen.pulled_back(self.probability.gradient(seen(masks), self.targets))
        if self.grid is not None:
            gradient = self.grid.pulled_back(gradient)
        return gradient.add_(self.penalty.gradient(values))

    def of_images(self, chosen: Shaped[Tensor, " batch"]) -> "_Stage":
        return replace(self, targets=self.targets[chosen], perturbation=self.perturbation.of_images(chosen))

    def _seen(self, masks: Maps, step: int) -> Perturbation:
        """Return the perturbation as a step sees it."""
        if not self.jitter.px:
            return self.perturbation
        return self.perturbation.cropped(*self.jitter.offset(step), *masks.shape[2:])


def _area(masks: Maps) -> Float[Tensor, " batch"]:
    return (masks < KEPT).double().mean(dim=(1, 2, 3)).to(masks)


def _through_png(masks: Maps) -> Maps:
    """Return the masks as read back from the original's files: 8 bits of ``1 − (m − min m) / max m``."""
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    removed = 1 - (masks - low) / high.clamp_min(torch.finfo(masks.dtype).tiny)
    return 1 - (removed * 255).round() / 255


methods.register("sparse_mask_before_may_2018")(SparseMask.before_may_2018)
methods.register("fong_vedaldi")(SparseMask.fong_vedaldi)
