"""Projections: what of an image a unit responds to, brought down to the pixels through the switches of that image.

All activations but one are set to zero, and the rest is passed down by :class:`xvcore.ops.relu_rules.BackwardRule`:
unpool at the switches, rectify, filter with the transposed kernels [1]_. Nothing is learned, the picture is signed, and
its scale is the activation's: no step normalises it.

The picture shows which edges feed the unit, not why a class was chosen: another unit at the same place often has nearly
the same picture.

>>> deconvnet = Deconvnet()
>>> (layer,) = TopActivations().layers(classifier, ["features.12.expand3x3_activation"])  # doctest: +SKIP
>>> found = deconvnet.project(classifier, layer, images, seeds)                           # doctest: +SKIP
>>> found.shown(), cut(images, found.boxes)                                               # doctest: +SKIP

References
----------
.. [1] M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014.
.. [2] J. T. Springenberg, A. Dosovitskiy, T. Brox, M. Riedmiller, "Striving for Simplicity: The All Convolutional Net",
   ICLR workshop 2015.
.. [3] K. Simonyan, A. Vedaldi, A. Zisserman, "Deep Inside Convolutional Networks", ICLR workshop 2014.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from xvcore.errors import ParameterError, XvError
from xvcore.methods import methods
from xvcore.models.classifier import Classifier
from xvcore.models.scores import scores_of
from xvcore.ops.crops import Way
from xvcore.ops.memory import in_halves
from xvcore.ops.receptive_field import AxisField
from xvcore.ops.relu_rules import BackwardRule, Interception, survey
from xvcore.ops.taps import UnitLayer, tapped
from xvcore.parameters import check, parameter
from xvcore.shown import Shown
from xvcore.types import Images, Targets

Seeds = Int[Tensor, "seeds 3"]
"""Unit, row and column of its place in the map, one activation per image."""
SHARED_FROM = 0.7
"""Share of the image that units see from which the seeds of an image share its forward pass; below it windows are less
work."""
PASSES_UP = 4
"""As many pixels as this many images have pass up through the network at once."""
SIGNAL_BYTES = {"cpu": 2**24}
"""Bytes of the largest maps that the signals which pass down at once have in them, by the kind of device: a few times
as much is in memory."""
MOST_SIGNAL_BYTES = 2**28
"""The same on other devices, which many signals at once keep busy."""


@dataclass(frozen=True, eq=False, slots=True)
class Projections(Shown):
    """Pictures of a batch of activations, cut to what the units see.

    Parameters
    ----------
    pictures : signed, in units of activation per unit of the pixels' [0, 1]; 0 where the box reaches out of the image
    activations : value of each unit at its place, as this pass computed it
    boxes : x, y, w, h in pixels: the receptive field; along an axis that it exceeds, the image
    """

    pictures: Float[Tensor, "batch 3 height width"]
    activations: Float[Tensor, " batch"]
    boxes: Int[Tensor, "batch 4"]

    @classmethod
    def joined(cls, parts: Sequence["Projections"]) -> "Projections":
        """Return the projections of several batches as those of one."""
        names = ("pictures", "activations", "boxes")
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    @property
    def scales(self) -> Float[Tensor, " batch"]:
        """Largest absolute value of each picture."""
        return self.scales_at(1.0)

    def scales_at(self, contrast: float) -> Float[Tensor, " batch"]:
        """Return the absolute value that a share of each picture's values does not exceed."""
        values = self.pictures.abs()
        rank = max(math.ceil(contrast * values[0].numel()), 1) if len(values) else 1
        if values.device.type == "cpu":
            # NumPy selects in a sixth of the time of torch's kthvalue, whatever the order in memory.
            ranked = [np.partition(each.numpy().ravel(order="K"), rank - 1)[rank - 1] for each in values]
            found = torch.from_numpy(np.array(ranked, values.numpy().dtype))
        else:
            found = values.flatten(1).kthvalue(rank, dim=1).values
        return torch.where(found > 0, found, values.amax((1, 2, 3)))

    def of(self, numbers: Int[Tensor, " n"]) -> "Projections":
        """Return those with these numbers, in their order."""
        return Projections(self.pictures[numbers], self.activations[numbers], self.boxes[numbers])

    def shown(self, contrast: float = 1.0, scales: Float[Tensor, " batch"] | None = None) -> Images:
        """Return the pictures for the eye, each by itself: ``picture / (2 scale) + 0.5``, so that 0 is grey.

        Parameters
        ----------
        contrast : share of the values that keep their contrast; the largest are clipped. A few of them are often so
            large that the others would all look grey. In (0, 1]
        scales : what :meth:`scales_at` returns for this contrast, where it is known already
        """
        tiny = torch.finfo(self.pictures.dtype).tiny
        scales = (self.scales_at(contrast) if scales is None else scales).clamp_min(tiny)
        return (self.pictures / (2 * scales)[:, None, None, None] + 0.5).clamp(0, 1)


def cut(images: Images, boxes: Int[Tensor, "batch 4"], fill: float = 0.5) -> Float[Tensor, "batch 3 h w"]:
    """Return one box of each image, all of one size; ``fill`` where it reaches out of the image.

    Parameters
    ----------
    images : one per box
    boxes : x, y, w, h in pixels, of equal w and h
    fill : in [0, 1]
    """
    height, width = images.shape[2:]
    w, h = boxes[0, 2:].tolist()
    cuts = images.new_full((len(images), images.shape[1], h, w), fill)
    for image, each, (x, y) in zip(images, cuts, boxes[:, :2].tolist(), strict=True):
        top, left, bottom, right = max(y, 0), max(x, 0), min(y + h, height), min(x + w, width)
        each[:, top - y : bottom - y, left - x : right - x] = image[:, top:bottom, left:right]
    return cuts


@methods.register("deconvnet")
@dataclass(frozen=True, slots=True)
class Deconvnet:
    """Projects activations to the pixels, many in one backward pass; the call projects the logit of the target.

    Notes
    -----
    A network for which the rule is not defined, or whose pictures would not depend on the image, is refused; see the
    options of :class:`~xvcore.ops.relu_rules.BackwardRule`, which ``rule`` holds.

    Only the part of the image that a unit sees has to pass through the network, which is exact where the part starts
    at a multiple of the layer's step and reaches either beyond the receptive field or to the image's border: the place
    then sees the same numbers and the same padding. For low and middle layers this is many times less work. Downwards
    go the windows of the maps that a seed reaches (:mod:`xvcore.ops.crops`), where every step of the network is known;
    else whole maps. Either way the picture is the same but for the order of sums, and for places of a pool's window
    that tie but for rounding.
    """

    rule: BackwardRule = parameter(BackwardRule(), "How the non-linear layers pass the signal down")
    seed: Literal["activation", "one"] = parameter(
        "activation",
        "What the signal starts from: the unit's absolute value, as in the paper, or 1 (the same picture, unscaled)",
    )
    region: Literal["receptive_field", "image"] = parameter(
        "receptive_field",
        "What passes through the network: the surroundings of the receptive field, or the whole image",
    )

    def __post_init__(self) -> None:
        check(self)

    @classmethod
    def guided(cls) -> "Deconvnet":
        """Return guided backpropagation [2]_."""
        return cls(rule=BackwardRule("guided"), seed="one")

    @classmethod
    def gradient(cls) -> "Deconvnet":
        """Return the plain gradient [3]_."""
        return cls(rule=BackwardRule("gradient"), seed="one")

    def __call__(self, classifier: Classifier, images: Images, targets: Targets) -> Projections:
        """Return the projection of the target's logit for each image.

        Raises
        ------
        XvError
            The rule has no meaning for the network.
        """
        self.check_fits(classifier)
        return Projections.joined(in_halves(partial(self._of_logits, classifier), images, targets))

    def check_fits(self, classifier: Classifier) -> Interception:
        """Return what a pass through the network meets (rectifiers, poolings, gates), counted.

        Raises
        ------
        XvError
            The rule has no meaning for the network, or no right gradient reaches the pixels; says why.
        """
        met = _surveyed(classifier)
        self.rule.check_fits(met, classifier.name)
        classifier.check_derivative()
        return met

    def project(
        self,
        classifier: Classifier,
        layer: UnitLayer,
        images: Images,
        seeds: Seeds,
        image_of: Int[Tensor, " seeds"] | None = None,
    ) -> Projections:
        """Return the projection of one activation per image, or of several of each; an image may come several times.

        Activations of one image share its forward pass where their units see most of it.

        Parameters
        ----------
        classifier : frozen network
        layer : of the activations
        images : RGB in [0, 1], of the size for which the layer was found
        seeds : unit, row and column of its place in the map
        image_of : number of each seed's image; None: the seeds are as many as the images, in their order

        Raises
        ------
        XvError
            The rule has no meaning for the network; images of another size; not one seed per image, a seed that the
            layer does not have, or an image that there is not.
        """
        self.check_fits(classifier)
        _check_seeds(layer, images, seeds, image_of)
        seeds = seeds.to(images.device)
        on_crops = self._on_crops(classifier, layer, images, seeds, image_of)
        if on_crops is not None:
            return on_crops
        if image_of is None:
            return Projections.joined(in_halves(partial(self._of_units, classifier, layer), images, seeds))
        image_of = image_of.to(images.device)
        if not self._sees_most(layer, images):
            return Projections.joined(in_halves(partial(self._of_units, classifier, layer), images[image_of], seeds))
        numbers = [(image_of == number).nonzero()[:, 0] for number in range(len(images))]
        found = [
            part
            for image, mine in zip(images, numbers, strict=True)
            if len(mine)
            for part in in_halves(partial(self._of_image, classifier, layer, image[None]), seeds[mine])
        ]
        return Projections.joined(found).of(torch.cat(numbers).argsort())

    def _on_crops(
        self, classifier: Classifier, layer: UnitLayer, images: Images, seeds: Seeds, image_of: Tensor | None
    ) -> Projections | None:
        """Return the projections by way of crops of the maps, None where the network's cannot be followed.

        What passes upwards are the images or the windows that the seeds see, whichever are fewer pixels; downwards goes
        of each seed what it reaches.
        """
        if (layer.name, self.rule) in _UNFOLLOWED.get(classifier.network, ()) or not len(seeds):
            return None
        numbers = torch.arange(len(seeds)) if image_of is None else image_of.cpu()
        placed = torch.cat([numbers.to(seeds)[:, None], seeds], 1)
        sides = self._sides(layer, images)
        whole = [side.whole() for side in sides]
        seen, all_seen = (_Regions.of(each, numbers.numpy(), *_places(seeds)) for each in (sides, whole))
        if all_seen.n_pixels <= seen.n_pixels:
            seen, sides = all_seen, whole
        first_pass = seen.of_seed // max(PASSES_UP * images.shape[2] * images.shape[3] // math.prod(seen.size), 1)
        order = np.argsort(seen.of_seed, kind="stable")
        found: list[Projections | None] = []
        for of_pass in np.split(order, np.flatnonzero(np.diff(first_pass[order])) + 1):
            make = partial(self._of_regions, classifier, layer, images, sides)
            found += in_halves(make, placed[torch.from_numpy(of_pass).to(seeds.device)])
            if found[-1] is None:
                _UNFOLLOWED.setdefault(classifier.network, set()).add((layer.name, self.rule))
                return None
        back = torch.from_numpy(order.argsort()).to(images.device)
        return Projections.joined([part for part in found if part is not None]).of(back)

    def _of_regions(
        self,
        classifier: Classifier,
        layer: UnitLayer,
        images: Images,
        sides: Sequence["_Side"],
        placed: Int[Tensor, "seeds 4"],
    ) -> Projections | None:
        """Return the projections of seeds whose regions go through the network together.

        ``placed`` has the number of each seed's image before the seed.
        """
        image_of, seeds = placed[:, 0].cpu().numpy(), placed[:, 1:]
        seen = _Regions.of(sides, image_of, *_places(seeds))
        regions = torch.stack([
            images[image, :, top : top + seen.size[0], left : left + seen.size[1]].detach()
            for image, top, left in seen.corners.tolist()
        ])  # fmt: skip
        expected = tuple(side.n_places(n) for side, n in zip(sides, layer.size, strict=True))
        with torch.enable_grad():
            leaf = regions.contiguous(memory_format=torch.channels_last).requires_grad_()
            try:
                maps = self._maps(classifier, layer, leaf, expected)
            except ParameterError:
                if seen.size == images.shape[2:]:
                    raise
                maps = None  # a network that takes images of its own size only
        if maps is None and seen.size != images.shape[2:]:  # or a map whose size does not follow the image's
            return self._of_regions(classifier, layer, images, [side.whole() for side in sides], placed)
        way = None if maps is None else Way.down(maps, leaf)
        if maps is None or way is None:
            return None
        of_device = SIGNAL_BYTES.get(images.device.type, MOST_SIGNAL_BYTES)
        n_signals = max(int(of_device // way.signal_bytes(layer.field.size)), 1)
        down = partial(self._of_signals, layer, _Passed(seen, sides, way, maps.detach()))
        numbers = torch.arange(len(seeds))
        parts = [found for part in numbers.split(n_signals) for found in in_halves(down, part, seeds[part])]
        return Projections.joined(parts)

    @torch.no_grad()
    def _of_signals(
        self, layer: UnitLayer, passed: "_Passed", numbers: Int[Tensor, " seeds"], seeds: Seeds
    ) -> Projections:
        """Return the projections of seeds, given their numbers among those of a pass."""
        places, maps = _places(seeds), passed.maps
        of_seed = passed.seen.of_seed[numbers.numpy()]
        corners = passed.seen.corners[of_seed, 1:].T
        y, x = (at - first // side.step for at, first, side in zip(places, corners, passed.sides, strict=True))
        rows, units = torch.from_numpy(of_seed).to(seeds), seeds[:, 0]
        chosen = maps[rows, units, torch.from_numpy(y).to(seeds), torch.from_numpy(x).to(seeds)]
        signals = maps.new_zeros(len(seeds), layer.n_units)
        signals[torch.arange(len(seeds), device=seeds.device), units] = self._signal(chosen)
        boxes = layer.field.views(*places)
        pulled = passed.way(signals, of_seed, y, x)
        box = int(boxes[0, 3]), int(boxes[0, 2])
        cut_out = pulled.at(boxes[:, 1] - corners[0], boxes[:, 0] - corners[1], box)
        return Projections(cut_out.values, chosen, torch.from_numpy(boxes).to(maps.device))

    def _sides(self, layer: UnitLayer, images: Images) -> list["_Side"]:
        sides = [_Side.of(axis, n) for axis, n in zip((layer.field.y, layer.field.x), images.shape[2:], strict=True)]
        return sides if self.region == "receptive_field" else [side.whole() for side in sides]

    def _sees_most(self, layer: UnitLayer, images: Images) -> bool:
        """Say whether the windows of a layer's units are most of the image."""
        shares = [side.size / side.n_pixels for side in self._sides(layer, images)]
        return shares[0] * shares[1] >= SHARED_FROM

    def _of_logits(self, classifier: Classifier, images: Images, targets: Targets) -> Projections:
        with torch.enable_grad():
            leaf = images.detach().clone().requires_grad_()
            with self.rule.applied():
                chosen = classifier.logits(leaf).gather(1, targets[:, None])[:, 0]
            pictures = self._pulled_back(chosen, leaf)
        box = torch.tensor([0, 0, images.shape[3], images.shape[2]], device=images.device)
        return Projections(pictures, chosen.detach(), box.repeat(len(images), 1))

    def _of_units(self, classifier: Classifier, layer: UnitLayer, images: Images, seeds: Seeds) -> Projections:
        units, y, x = seeds.unbind(1)
        places_y, places_x = _places(seeds)
        sides = self._sides(layer, images)
        top, left = (side.starts(places) for side, places in zip(sides, (places_y, places_x), strict=True))
        regions = torch.stack([
            image[:, top[i] : top[i] + sides[0].size, left[i] : left[i] + sides[1].size]
            for i, image in enumerate(images.detach())
        ])  # fmt: skip
        inside = (
            y - torch.from_numpy(top // sides[0].step).to(y),
            x - torch.from_numpy(left // sides[1].step).to(x),
        )
        expected = tuple(side.n_places(n) for side, n in zip(sides, layer.size, strict=True))
        with torch.enable_grad():
            leaf = regions.requires_grad_()
            try:
                chosen = self._chosen(classifier, layer, leaf, (units, *inside), expected)
            except ParameterError:
                if regions.shape == images.shape:
                    raise
                chosen = None  # a network that takes images of its own size only
            if chosen is None:  # or a map whose size does not follow the image's
                return replace(self, region="image")._of_units(classifier, layer, images, seeds)
            pulled = self._pulled_back(chosen, leaf)
        boxes = torch.from_numpy(layer.field.views(places_y, places_x)).to(images.device)
        corners = torch.from_numpy(np.stack([left, top], 1)).to(images.device)
        relative = torch.cat([boxes[:, :2] - corners, boxes[:, 2:]], 1)
        return Projections(cut(pulled, relative, fill=0.0), chosen.detach(), boxes)

    def _of_image(self, classifier: Classifier, layer: UnitLayer, image: Images, seeds: Seeds) -> Projections:
        """Return the projections of several activations of one image: one pass up, one down for all of them."""
        with torch.enable_grad():
            leaf = image.detach().clone().requires_grad_()
            chosen = self._chosen(classifier, layer, leaf, seeds.unbind(1), layer.size)
            if chosen is None:
                raise XvError(f"{layer.name} has maps of another size than {layer.size} now")
            self._check_signal(chosen)
            signals = torch.diag(self._signal(chosen))
            (pulled,) = torch.autograd.grad(chosen, leaf, signals, is_grads_batched=True)
        boxes = torch.from_numpy(layer.field.views(*(places.cpu().numpy() for places in seeds.T[1:])))
        boxes = boxes.to(image.device)
        return Projections(cut(pulled[:, 0], boxes, fill=0.0), chosen.detach(), boxes)

    def _chosen(
        self,
        classifier: Classifier,
        layer: UnitLayer,
        regions: Images,
        places: tuple[Tensor, ...],
        expected: tuple[int, ...],
    ) -> Float[Tensor, " places"] | None:
        """Return the activations of a pass that ends at the layer; None where its map has not the expected size.

        One of each region, or several of one.
        """
        maps = self._maps(classifier, layer, regions, expected)
        if maps is None:
            return None
        units, y, x = places
        flat = maps.reshape(*maps.shape[:2], -1)
        rows = torch.arange(len(units), device=flat.device) if len(flat) > 1 else torch.zeros_like(units)
        return flat[rows, units, y * expected[1] + x]

    def _maps(
        self, classifier: Classifier, layer: UnitLayer, regions: Images, expected: tuple[int, ...]
    ) -> Tensor | None:
        """Return the maps of a pass that ends at the layer; None where they have not the expected size."""
        found: list[Tensor] = []

        def receive(_: int, maps: Tensor) -> None:
            if (*maps.shape[2:], 1, 1)[:2] == expected:
                found.append(maps)

        with self.rule.applied(), tapped(classifier.network, [layer], receive, is_cut=True):
            classifier.logits(regions)
        return found[0] if found else None

    def _pulled_back(self, chosen: Float[Tensor, " batch"], leaf: Images) -> Images:
        self._check_signal(chosen)
        (pictures,) = torch.autograd.grad(chosen, leaf, self._signal(chosen))
        return pictures

    def _signal(self, chosen: Float[Tensor, " batch"]) -> Float[Tensor, " batch"]:
        return chosen.detach().abs() if self.seed == "activation" else torch.ones_like(chosen)

    def _check_signal(self, chosen: Float[Tensor, " batch"]) -> None:
        if not chosen.requires_grad:
            raise XvError(f"{self.rule.rule}: no signal comes down to the pixels, all of it goes through gates")


@dataclass(frozen=True, slots=True)
class _Side:
    """How much of the image along one axis passes through the network: a window that moves in steps of the layer.

    Parameters
    ----------
    size : of the window, in pixels
    n_pixels : of the image
    step : pixels between places of the layer
    low : first pixel of the first place's field
    """

    size: int
    n_pixels: int
    step: int
    low: int

    @classmethod
    def of(cls, axis: AxisField, n_pixels: int) -> "_Side":
        """Return the smallest window that starts at a multiple of the step and can end at the image's border."""
        is_regular = len(axis) > 1 and axis.step > 0 and bool((np.diff(axis.low) == axis.step).all())
        if not is_regular or bool((np.diff(axis.high) != axis.step).any()):
            return cls(n_pixels, n_pixels, 1, 0)
        least = axis.size + axis.step - 1
        size = least + (n_pixels - least) % axis.step
        return cls(min(size, n_pixels), n_pixels, axis.step, int(axis.low[0]))

    def whole(self) -> "_Side":
        """Return the window that is the image."""
        return replace(self, size=self.n_pixels)

    def starts(self, places: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
        """Return where the window of each place starts."""
        first = (self.low + places * self.step) // self.step * self.step
        found: np.ndarray = first.clip(0, self.n_pixels - self.size)
        return found

    def n_places(self, n: int) -> int:
        """Return how many of the map's ``n`` places the window has."""
        return n - (self.n_pixels - self.size) // self.step


@dataclass(frozen=True, eq=False, slots=True)
class _Regions:
    """What of the images passes through the network for some seeds.

    Parameters
    ----------
    corners : number of the image, first row and first column of each region, all different
    of_seed : number of the region of each seed
    size : height and width of a region, in pixels
    """

    corners: Int[np.ndarray, "regions 3"]
    of_seed: Int[np.ndarray, " seeds"]
    size: tuple[int, int]

    @classmethod
    def of(
        cls,
        sides: Sequence[_Side],
        image_of: Int[np.ndarray, " seeds"],
        y: Int[np.ndarray, " seeds"],
        x: Int[np.ndarray, " seeds"],
    ) -> "_Regions":
        starts = [side.starts(places) for side, places in zip(sides, (y, x), strict=True)]
        corners, of_seed = np.unique(np.stack([image_of, *starts], 1), axis=0, return_inverse=True)
        return cls(corners, of_seed.reshape(-1), (sides[0].size, sides[1].size))

    @property
    def n_pixels(self) -> int:
        """Pixels of all regions."""
        return len(self.corners) * math.prod(self.size)


@dataclass(frozen=True, eq=False, slots=True)
class _Passed:
    """Regions that went up through the network together.

    Parameters
    ----------
    seen : which
    sides : of a region
    way : from the maps down to the regions
    maps : of the layer
    """

    seen: _Regions
    sides: Sequence[_Side]
    way: Way
    maps: Tensor


def _places(seeds: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of seeds."""
    return seeds[:, 1].cpu().numpy(), seeds[:, 2].cpu().numpy()


_UNFOLLOWED: WeakKeyDictionary[nn.Module, set[tuple[str, BackwardRule]]] = WeakKeyDictionary()
"""Layers of each network from which signals cannot be brought down on crops."""
_SURVEYS: WeakKeyDictionary[nn.Module, Interception] = WeakKeyDictionary()


def _surveyed(classifier: Classifier) -> Interception:
    """Return what one pass meets; networks are frozen, so one pass per network is enough."""
    if classifier.network not in _SURVEYS:
        noise = torch.rand(1, 3, *classifier.preprocessing.input_px, generator=torch.Generator().manual_seed(0))
        dtype = next((each.dtype for each in classifier.network.parameters()), noise.dtype)
        image = classifier.preprocessing.normalise(noise).to(classifier.device, dtype)

        def scores(images: Tensor) -> Tensor:
            return scores_of(classifier.name, classifier.network(images), len(images))

        _SURVEYS[classifier.network] = survey(scores, image)
    return _SURVEYS[classifier.network]


def _check_seeds(layer: UnitLayer, images: Images, seeds: Seeds, image_of: Tensor | None) -> None:
    n_places = len(images) if image_of is None else len(image_of)
    if len(seeds) != n_places:
        raise XvError(f"{n_places} images, {len(seeds)} seeds: must be equally many")
    if image_of is not None and len(image_of) and not 0 <= int(image_of.min()) <= int(image_of.max()) < len(images):
        raise XvError(f"image_of = {int(image_of.min())} … {int(image_of.max())}: there are 0 … {len(images) - 1}")
    if images.shape[2:] != layer.field.image_px:
        raise XvError(f"images of {tuple(images.shape[2:])} px: {layer.name} was found for {layer.field.image_px}")
    for name, values, n in zip(("unit", "y", "x"), seeds.T, (layer.n_units, *layer.size), strict=True):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < n:
            raise XvError(f"{name} = {int(values.min())} … {int(values.max())}: {layer.name} has 0 … {n - 1}")


methods.register("guided_backpropagation")(Deconvnet.guided)
methods.register("gradient")(Deconvnet.gradient)
