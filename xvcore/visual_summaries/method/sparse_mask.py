"""Sparse, crisp masks: the few pixels whose removal takes the decision away.

A mask ``m`` keeps a pixel where it is 1 and replaces it by a baseline, e.g. a blurred picture, where it is 0::

    picture(m) = m · image + (1 − m) · baseline

What is minimised, for each image by itself, is the probability of the target plus what the mask pays for its area, its
raggedness and its softness [1]_::

    p_target(picture(m)) + λ_area mean |1 − m| + λ_variation TV(m) + λ_crispness mean |m (1 − m)|

first over a coarse grid of 8 × 8 pixel cells (*smooth*: where is the evidence?), then over the pixels from there on
(*crisp*: which pixels exactly?).

Which pixels, that is, as long as removing means what the baseline says: a mask is evidence of what the network needs
when these pixels are replaced **by that baseline**. It is no outline of an object, it is not the only set of pixels
that will do, a part of it by itself may take nothing away, and under another baseline it may take less away;
``prob_by_baseline`` tells how much.

>>> masks = SparseMask()(classifier, images, targets)  # doctest: +SKIP
>>> masks.drop_crisp, masks.area_crisp                 # doctest: +SKIP

References
----------
.. [1] M. Godi, M. Carletti, M. Aghaei, F. Giuliari, M. Cristani, "Understanding Deep Architectures by Visual
   Summaries", BMVC 2018.
.. [2] R. Fong, A. Vedaldi, "Interpretable Explanations of Black Boxes by Meaningful Perturbation", ICCV 2017.
.. [3] D. Drusvyatskiy, C. Paquette, "Efficiency of minimizing compositions of convex functions and smooth maps",
   Mathematical Programming 178, 2019.
"""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
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
from xvcore.ops.margin_descent import MarginDescent
from xvcore.ops.mask_penalty import MaskPenalty
from xvcore.ops.memory import in_halves
from xvcore.ops.perturb import Baseline, Perturbation, baseline, gaussian_blur
from xvcore.ops.probability import Margins, Precision, TargetProbability
from xvcore.parameters import check, parameter
from xvcore.types import Images, Maps, Probabilities, Targets
from xvcore.visual_summaries.method.judged_masks import JUDGES, JudgedMasks, binarised

DISC_BLUR_SIGMA = 10.0
"""Blur in pixels of the smallest disc before the descent starts there [2]_."""
Bookmarks = Callable[[str], Bookmark]
"""Gives a bookmark for the descent of a name."""

Preset = Literal["published", "before_may_2018", "fong_vedaldi", "robust", "tenth"]
PUBLISHED: Mapping[str, Any] = {
    "optimiser": "adam",
    "smooth_steps": 300,
    "crisp_steps": 150,
    "crispness_growth": 0.0,
    "blur_gradient": "straight_through",
}
"""The authors' last code [1]_: Adam, 300 and 150 steps, a gradient that passes the blur of the mask unchanged."""
PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "published": PUBLISHED,
    "before_may_2018": {**PUBLISHED, "smooth_area_weight": 0.01, "smooth_variation_weight": 1e-4},
    "fong_vedaldi": {
        **PUBLISHED,
        "smooth_area_weight": 1e-4,
        "smooth_variation_weight": 1e-2,
        "crisp_steps": 0,
        "variation": "isotropic",
        "reduction": "sum",
        "baseline": "blur_strong",
        "upsampling": "nearest",
        "start": "smallest_disc",
        "jitter_px": 4,
    },
    "robust": {"baselines": JUDGES},
    "tenth": {"baselines": JUDGES, "free_area": 0.1, "smooth_area_weight": 5.0, "crisp_area_weight": 5.0},
}
"""Parameters by the name of a preset."""


@methods.register("sparse_mask")
@dataclass(frozen=True, slots=True)
class SparseMask:
    """Sparse masks in two stages, smooth then crisp; the objectives are those of the authors' last code [1]_.

    How they are minimised is ours: the network is linearised at each pass and everything else is followed as it is
    (:class:`MarginDescent`, after [3]_), which takes a tenth of the passes and reaches lower objectives. The authors'
    own schedule is ``SparseMask.published()``, or ``preset="published"``: a name that sets every parameter left at its
    default (``--set mask.preset=published`` on the command line).

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

    preset: Preset | None = parameter(
        None, "Named parameters; when given, it sets those that are left at their defaults"
    )
    steps: int | None = parameter(
        None, "Total number of steps, shared 2 : 1 between the stages; when given, it sets smooth and crisp steps", ge=3
    )
    optimiser: Literal["margin", "adam"] = parameter(
        "margin", "How a stage descends: the network's log odds linearised (ours), or Adam on the probability [1]_"
    )
    smooth_steps: int = parameter(30, "Steps of the smooth stage, one pass of the network each (published: 300)", ge=0)
    smooth_area_weight: float = parameter(0.5, "Weight of the area in the smooth stage (0.01 before May 2018)", ge=0)
    smooth_variation_weight: float = parameter(
        1e-2, "Weight of the total variation in the smooth stage (1e-4 before May 2018)", ge=0
    )
    smooth_crispness_weight: float = parameter(0.0, "Weight of the softness in the smooth stage", ge=0)
    crisp_steps: int = parameter(
        15, "Steps of the crisp stage, one pass of the network each (published: 150); 0 leaves the smooth mask", ge=0
    )
    crisp_area_weight: float = parameter(0.01, "Weight of the area in the crisp stage", ge=0)
    crisp_variation_weight: float = parameter(1.0, "Weight of the total variation in the crisp stage", ge=0)
    crisp_crispness_weight: float = parameter(2.0, "Weight of the softness in the crisp stage (the lasso)", ge=0)
    crispness_growth: float = parameter(
        1.0,
        "Share of the crisp stage in which the weight of the softness grows to its own (ours); 0: there from the start",
        ge=0,
        le=1,
    )
    free_area: float = parameter(
        0.0,
        "Share of the picture below which area costs nothing, its excess the square (ours); 0: all costs",
        ge=0,
        le=1,
    )
    variation: Literal["anisotropic", "isotropic"] = parameter("anisotropic", "Form of the total variation")
    variation_power: float = parameter(3.0, "Exponent of the total variation", ge=1)
    reduction: Literal["mean", "sum"] = parameter("mean", "Whether the mask's penalties are means or sums")
    baseline: Baseline = parameter("blur_weak", "What replaces a removed pixel")
    baselines: tuple[Baseline, ...] = parameter(
        (),
        "Several baselines that take turns from step to step, the objective their mean (ours); empty: baseline alone",
    )
    cell_px: int = parameter(8, "Width of a cell of the coarse grid, in pixels", ge=1)
    upsampling: Upsampling = parameter("bilinear", "How the coarse grid becomes pixels")
    mask_blur: float = parameter(5.0, "Sigma in pixels of the blur of the upsampled mask; 0 is none", ge=0)
    blur_gradient: Literal["straight_through", "differentiated"] = parameter(
        "differentiated", "Whether the gradient passes the blur of the mask unchanged, as in the original"
    )
    start: Literal["disc", "smallest_disc"] = parameter(
        "disc", "Coarse mask to start from: the inscribed disc removed, or the smallest that takes the decision away"
    )
    png_round_trip: bool = parameter(
        default=False, description="Stretch and quantise the smooth mask to 8 bits before the crisp stage"
    )
    jitter_px: int = parameter(0, "Shifts of the picture per step, drawn from 0 … jitter − 1; 0 is none", ge=0)
    smooth_descent: MarginDescent = parameter(MarginDescent(), "The optimiser of the smooth stage, where it is margin")
    crisp_descent: MarginDescent = parameter(
        MarginDescent(0.06, 0.04, 0.3, 0.3, gradient_decay=0.8, inner_steps=60),
        "The optimiser of the crisp stage, where it is margin",
    )
    adam: Adam = parameter(Adam(), "The optimiser of both stages, where it is adam")
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
        if self.preset is not None:
            for field in fields(self):
                default = field.default if field.default_factory is MISSING else field.default_factory()
                if field.name in PRESETS[self.preset] and getattr(self, field.name) == default:
                    object.__setattr__(self, field.name, PRESETS[self.preset][field.name])
            object.__setattr__(self, "preset", None)
        if self.steps is not None:
            for name, value in {"crisp_steps": self.steps // 3, "smooth_steps": self.steps - self.steps // 3}.items():
                object.__setattr__(self, name, value)
            object.__setattr__(self, "steps", None)

    @classmethod
    def published(cls) -> "SparseMask":
        """Return the method with the optimiser and the number of steps of the authors' last code [1]_."""
        return cls(preset="published")

    @classmethod
    def before_may_2018(cls) -> "SparseMask":
        """Return the published method with the smooth stage's weights at the time of the first preprint."""
        return cls(preset="before_may_2018")

    @classmethod
    def fong_vedaldi(cls) -> "SparseMask":
        """Return the one-stage original [2]_, but for its 8-bit arithmetic."""
        return cls(preset="fong_vedaldi")

    @classmethod
    def robust(cls) -> "SparseMask":
        """Return the method whose masks are to take the decision away whichever baseline replaces a pixel (ours)."""
        return cls(preset="robust")

    @classmethod
    def tenth(cls) -> "SparseMask":
        """Return the method that takes away all that it can in about a tenth of the picture, under any baseline (ours).

        Area costs nothing up to the tenth, and the square of the excess beyond: pixels are then chosen by what their
        removal takes away for as long as anything is left, where the other presets stop choosing once little is. Its
        masks are smaller than those of ``robust`` and lose as much.
        """
        return cls(preset="tenth")

    @torch.no_grad()
    def __call__(
        self, classifier: Classifier, images: Images, targets: Targets, bookmarks: Bookmarks | None = None
    ) -> JudgedMasks:
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
        return JudgedMasks.joined(in_halves(partial(self._explain, classifier, bookmarks), images, targets, places))

    def _explain(
        self,
        classifier: Classifier,
        bookmarks: Bookmarks | None,
        images: Images,
        targets: Targets,
        places: Int[Tensor, " batch"],
    ) -> JudgedMasks:
        probability = TargetProbability(self._prepared(classifier).logits, self.precision)
        jitter = Jitter(self.jitter_px, self.seed)
        still = {kind: self._perturbation(images, kind) for kind in (*self._baselines, *JUDGES)}
        moving = {
            kind: self._perturbation(jitter.enlarged(images), kind) if jitter.px else still[kind]
            for kind in self._baselines
        }
        stage = partial(_Stage, probability, targets, tuple(moving.values()), jitter)

        def under(masks: Maps, kind: Baseline = self._baselines[0]) -> Probabilities:
            return probability(still[kind](masks), targets)

        def mark(name: str) -> Bookmark | None:
            return bookmarks(f"{name}, images {places[0]} … {places[-1]}") if bookmarks else None

        grid = self._grid(images)
        start = self._start(grid, under, images)
        smoothing = stage(self._smooth_penalty(), grid)
        low, smooth_iterations = self._descended(
            smoothing, self.smooth_descent, start, self.smooth_steps, mark("smooth")
        )
        smooth = grid(low).clamp(0, 1)

        start = _through_png(smooth) if self.png_round_trip else smooth
        hardening = stage(self._crisp_penalty(), None, round(self.crispness_growth * self.crisp_steps))
        crisp, crisp_iterations = self._descended(hardening, self.crisp_descent, start, self.crisp_steps, mark("crisp"))
        if not crisp.isfinite().all():
            raise XvError(f"masks are not finite: {classifier.name} overflows in {self.precision}")
        prob_smooth, prob_soft = ([under(masks, kind) for kind in self._baselines] for masks in (smooth, crisp))
        judged = [under(binarised(crisp), kind) for kind in JUDGES]
        return JudgedMasks(
            low=low,
            smooth=smooth,
            crisp=crisp,
            prob_full=probability(images, targets),
            prob_smooth=prob_smooth[0],
            prob_crisp=judged[JUDGES.index(self._baselines[0])],
            prob_blurred=probability(still[self._baselines[0]].baseline, targets),
            prob_by_baseline=torch.stack(judged, dim=1),
            smooth_iterations=smooth_iterations,
            crisp_iterations=crisp_iterations,
            smooth_settled=smooth_iterations < self.smooth_steps,
            crisp_settled=crisp_iterations < self.crisp_steps,
            smooth_objective=torch.stack(prob_smooth).mean(dim=0) + smoothing.penalty(low),
            crisp_objective=torch.stack(prob_soft).mean(dim=0) + hardening.penalty(crisp),
            images=images,
        )

    def _prepared(self, classifier: Classifier) -> Classifier:
        network = ChannelsLast(classifier.network)
        if self.compile:
            network.compile(fullgraph=True)
        return replace(classifier, network=network)

    @property
    def _baselines(self) -> tuple[Baseline, ...]:
        return self.baselines or (self.baseline,)

    def _perturbation(self, images: Images, kind: Baseline) -> Perturbation:
        return Perturbation.of(images, baseline(images, kind, seed=self.seed))

    def _descended(
        self, stage: "_Stage", descent: MarginDescent, start: Maps, n_steps: int, bookmark: Bookmark | None
    ) -> tuple[Maps, Int[Tensor, " batch"]]:
        """Return the values that a stage reaches and the steps that each image took."""
        if self.optimiser == "adam":
            return Descent(self.adam, self.stop_window, self.stop_tolerance)(stage, start, n_steps, bookmark)
        return descent(
            stage, start, n_steps, bookmark, stop_window=self.stop_window, stop_tolerance=self.stop_tolerance
        )

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
        return self._penalty(self.smooth_area_weight, self.smooth_variation_weight, self.smooth_crispness_weight)

    def _crisp_penalty(self) -> MaskPenalty:
        return self._penalty(self.crisp_area_weight, self.crisp_variation_weight, self.crisp_crispness_weight)

    def _penalty(self, area_weight: float, variation_weight: float, crispness_weight: float) -> MaskPenalty:
        return MaskPenalty(
            area_weight,
            variation_weight,
            crispness_weight,
            self.variation_power,
            self.variation == "isotropic",
            self.reduction == "sum",
            self.free_area,
        )


@dataclass(frozen=True, slots=True)
class _Stage:
    """The loss of one stage as a function of its variable: a coarse grid of elements, or without a grid the pixels.

    Parameters
    ----------
    perturbations : one a baseline; a step looks at one of them, in turn, and so does the loss of a step
    n_growing : steps in which the weight of the softness grows linearly to its own
    """

    probability: TargetProbability
    targets: Targets
    perturbations: tuple[Perturbation, ...]
    jitter: Jitter
    penalty: MaskPenalty
    grid: CoarseGrid | None
    n_growing: int = 0

    @property
    def n_views(self) -> int:
        return len(self.perturbations)

    def losses(self, values: Maps, step: int) -> Float[Tensor, " batch"]:
        masks = self._shown(values)
        found = [self.probability(each(masks), self.targets) for each in self._seen(masks, step)]
        return torch.stack(found).mean(dim=0) + self.penalty(values)

    def gradient(self, values: Maps, step: int) -> Maps:
        masks = self._shown(values)
        seen = self._seen(masks, step)[step % self.n_views]
        gradient = seen.pulled_back(self.probability.gradient(seen(masks), self.targets))
        return self._felt(gradient).add_(self.penalty_at(step).gradient(values))

    def margins(self, values: Maps, step: int) -> tuple[Margins, Maps]:
        masks = self._shown(values)
        seen = self._seen(masks, step)[step % self.n_views]
        margins, gradient = self.probability.margin_gradient(seen(masks), self.targets)
        return margins, self._felt(seen.pulled_back(gradient))

    def penalty_at(self, step: int | None) -> MaskPenalty:
        if step is None or step + 1 >= self.n_growing:
            return self.penalty
        weight = self.penalty.crispness_weight * step / max(self.n_growing - 1, 1)
        return replace(self.penalty, crispness_weight=weight)

    def of_images(self, chosen: Shaped[Tensor, " batch"]) -> "_Stage":
        perturbations = tuple(each.of_images(chosen) for each in self.perturbations)
        return replace(self, targets=self.targets[chosen], perturbations=perturbations)

    def _shown(self, values: CoarseMaps) -> Maps:
        return values if self.grid is None else self.grid(values)

    def _felt(self, gradient: Maps) -> CoarseMaps:
        return gradient if self.grid is None else self.grid.pulled_back(gradient)

    def _seen(self, masks: Maps, step: int) -> tuple[Perturbation, ...]:
        """Return the perturbations as a step sees them."""
        if not self.jitter.px:
            return self.perturbations
        window = *self.jitter.offset(step), *masks.shape[2:]
        return tuple(each.cropped(*window) for each in self.perturbations)


def _through_png(masks: Maps) -> Maps:
    """Return the masks as read back from the original's files: 8 bits of ``1 − (m − min m) / max m``."""
    low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
    removed = 1 - (masks - low) / high.clamp_min(torch.finfo(masks.dtype).tiny)
    return 1 - (removed * 255).round() / 255


methods.register("sparse_mask_published")(SparseMask.published)
methods.register("sparse_mask_robust")(SparseMask.robust)
methods.register("sparse_mask_tenth")(SparseMask.tenth)
methods.register("sparse_mask_before_may_2018")(SparseMask.before_may_2018)
methods.register("fong_vedaldi")(SparseMask.fong_vedaldi)
