"""The strongest activations of every unit of a network over a whole data set: which images, and where in them.

For each unit and image the candidate is the maximum of the unit's map and its place, the first in raster order among
equals; of all candidates the strongest are kept, equal ones by rising image number. So the images of a unit are
distinct, and the result is that of a full sort, whatever the order, the batches or the machines.

Source: M. D. Zeiler, R. Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, figure 2: the top
nine activations in the validation set. That they are of distinct images is not stated there: it is our choice, and
that of J. Yosinski et al., "Understanding Neural Networks Through Deep Visualization", 2015.

>>> summary = TopActivations()
>>> layers = summary.layers(classifier)                                        # doctest: +SKIP
>>> tops = UnitTops.empty(layers, summary.kept, classifier.device)             # doctest: +SKIP
>>> for images, numbers in batches:                                            # doctest: +SKIP
...     tops = summary.of_batch(classifier, images, numbers, tops)
>>> tops.merged(others).top(image_ids), tops.units(class_ids)                  # doctest: +SKIP
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.errors import XvError
from xvcore.models.classifier import Classifier
from xvcore.ops.taps import Site, UnitLayer, tapped, unit_layers
from xvcore.parameters import check, parameter
from xvcore.shown import Shown
from xvcore.types import Images, Scores

SUM_QUANTUM = 2.0**-24
"""Maxima are summed in multiples of it: such sums are exact up to 5e8, hence do not depend on the order."""
NOBODY = -1
"""Image number of a place in the ranking that nobody took."""


Entries = tuple[Tensor, Tensor, Tensor]
"""Values, image numbers and places; units × entries each."""


@dataclass(frozen=True, eq=False, slots=True)
class UnitTops(Shown):
    """The ranking and the statistics of every unit; rankings of disjoint images can be merged in any order.

    Parameters
    ----------
    layers : of the units, in order
    values : activations of each unit, strongest first; −inf where there were fewer images
    images : their image numbers; −1 where there were fewer images
    places : their places in the unit's map, counted in raster order
    sums : of each unit's maxima over all images
    n_invalid : images in which a unit's map was not a number; they are left out of its ranking and of its mean
    n_images : images seen
    last_image : highest image number seen
    """

    layers: tuple[UnitLayer, ...]
    values: Float[Tensor, "units kept"]
    images: Int[Tensor, "units kept"]
    places: Int[Tensor, "units kept"]
    sums: Float[Tensor, " units"]
    n_invalid: Int[Tensor, " units"]
    n_images: int = 0
    last_image: int = NOBODY

    @classmethod
    def empty(cls, layers: Sequence[UnitLayer], kept: int, device: torch.device | str = "cpu") -> "UnitTops":
        """Return the rankings of no image at all."""
        n = sum(layer.n_units for layer in layers)
        return cls(
            tuple(layers),
            torch.full((n, kept), -torch.inf, device=device),
            torch.full((n, kept), NOBODY, device=device),
            torch.zeros((n, kept), dtype=torch.int32, device=device),
            torch.zeros(n, dtype=torch.float64, device=device),
            torch.zeros(n, dtype=torch.int64, device=device),
        )

    @property
    def kept(self) -> int:
        """Length of each ranking."""
        return self.values.shape[1]

    @property
    def is_dead(self) -> Tensor:
        """Which units were never positive."""
        return self.values[:, 0] <= 0

    def merged(self, other: "UnitTops") -> "UnitTops":
        """Return the rankings over the images of both; commutes and associates exactly.

        Raises
        ------
        XvError
            Other layers or another length of the rankings, or an image that is in both.
        """
        if self._shape() != other._shape():
            raise XvError(
                f"rankings of different layers or lengths cannot be merged: {self._shape()}, {other._shape()}"
            )
        lower, higher = (self, other) if self.last_image < other.last_image else (other, self)
        are_in_order = lower.last_image < higher._first_ranked()
        if not are_in_order:
            _check_disjoint(self.images, other.images)
        merged = _ranked(lower._entries, higher._entries, self.kept, are_in_order=are_in_order)
        return UnitTops(
            self.layers,
            *merged,
            self.sums + other.sums,
            self.n_invalid + other.n_invalid,
            self.n_images + other.n_images,
            max(self.last_image, other.last_image),
        )

    def units(self, class_ids: Sequence[str], *, first: int | None = None, shown: int | None = None) -> pd.DataFrame:
        """Return one row per unit, the columns of the table ``units`` but for its keys.

        Parameters
        ----------
        class_ids : class of every image, by image number
        first : how many of a unit's strongest images its class statistics count; None counts all that were kept.
            Images in which the unit is not active never count
        shown : how many count of a unit that saw no more images than ``first``: all of them would tell of the data
            set, not of the unit. None, or where it saw no more than these either: its class statistics are missing

        Returns
        -------
        DataFrame
            ``layer``, ``unit``; ``n_images`` whose map was valid; ``act_mean`` and ``act_max``: mean and maximum over
            the images of the map's maximum; ``dead``: never positive; ``top_class_id``: most frequent class among the
            strongest images, first by name among equals; ``top_class_share`` of them; ``class_entropy`` of their
            classes, in bits. The last three are None and NaN where no image counts: the unit is dead, or its strongest
            images are all that it saw.
        """
        values, images = self.values.cpu().numpy(), self.images.cpu().numpy()
        n_valid = self.n_images - self.n_invalid.cpu().numpy()
        names, codes = np.unique(np.asarray(class_ids, dtype=object), return_inverse=True)
        counted = (values > 0) & (np.arange(self.kept) < _n_counted(n_valid, first or self.kept, shown)[:, None])
        rows, columns = np.nonzero(counted)
        # unit × class is large for many classes: sort and count the pairs that occur instead
        pairs, counts = np.unique(rows * max(len(names), 1) + codes[images[rows, columns]], return_counts=True)
        units, classes = np.divmod(pairs, max(len(names), 1))
        total = np.bincount(units, counts, len(values))
        share = counts / total[units]
        entropy = np.bincount(units, -share * np.log2(share), len(values))
        order = np.lexsort((classes, -counts, units))
        best = order[np.unique(units[order], return_index=True)[1]]
        top_class, top_share = np.full(len(values), None, dtype=object), np.full(len(values), np.nan)
        top_class[units[best]], top_share[units[best]] = names[classes[best]], share[best]
        layer, unit = self._names()
        with np.errstate(invalid="ignore"):
            mean = self.sums.cpu().numpy() / np.where(n_valid > 0, n_valid, np.nan)
        return pd.DataFrame({
            "layer": layer,
            "unit": unit,
            "n_images": n_valid,
            "act_mean": mean.astype(np.float32),
            "act_max": np.where(n_valid > 0, values[:, 0], np.nan).astype(np.float32),
            "dead": values[:, 0] <= 0,
            "top_class_id": top_class,
            "top_class_share": top_share.astype(np.float32),
            "class_entropy": np.where(total > 0, entropy, np.nan).astype(np.float32),
        })  # fmt: skip

    def top(self, image_ids: Sequence[str], *, first: int | None = None) -> pd.DataFrame:
        """Return one row per unit and place in its ranking, the columns of the table ``unit_top`` but for its keys.

        Parameters
        ----------
        image_ids : id of every image, by image number
        first : how many per unit; None returns all that were kept

        Returns
        -------
        DataFrame
            ``layer``, ``unit``, ``position`` from 1, ``image_id``, ``activation``, ``map_y``, ``map_x`` (place in the
            unit's map), ``x``, ``y``, ``w``, ``h``: its receptive field in pixels of the input, which may reach out of
            the image; along an axis that it exceeds, the image. An image in which the unit is not active has no row,
            hence a dead unit none.
        """
        names = np.asarray(image_ids, dtype=object)
        frames = []
        for layer, columns in self.rankings(first=first):
            numbers = columns.pop("image")
            placed = {name: columns.pop(name) for name in ("unit", "position")}
            frames.append(pd.DataFrame({"layer": layer.name, **placed, "image_id": names[numbers], **columns}))
        return pd.concat(frames, ignore_index=True)

    def rankings(self, *, first: int | None = None) -> Iterator[tuple[UnitLayer, dict[str, np.ndarray]]]:
        """Yield each layer with the columns of :meth:`top` for it, and for ``image_id`` the number: ``image``."""
        values = self.values.cpu().numpy()[:, :first]
        images, places = self.images.cpu().numpy(), self.places.cpu().numpy()
        start = 0
        for layer in self.layers:
            unit, rank = np.nonzero(values[start : start + layer.n_units] > 0)
            rows = start + unit
            map_y, map_x = np.divmod(places[rows, rank], layer.size[1])
            boxes = layer.field.views(map_y, map_x)
            columns = {"unit": unit, "position": rank + 1, "image": images[rows, rank]}
            columns |= {"activation": values[rows, rank], "map_y": map_y, "map_x": map_x}
            yield layer, {**columns, **dict(zip("xywh", boxes.T, strict=True))}
            start += layer.n_units

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all but the layers as arrays, to be stored and read back by :meth:`of_arrays`."""
        return {
            name: np.asarray(getattr(self, name).cpu() if name in _TENSORS else getattr(self, name)) for name in _ALL
        }

    @classmethod
    def of_arrays(cls, layers: Sequence[UnitLayer], arrays: Mapping[str, Any]) -> "UnitTops":
        """Return what :meth:`arrays` gave, on the CPU.

        Raises
        ------
        XvError
            The arrays are of other layers.
        """
        n = sum(layer.n_units for layer in layers)
        if len(arrays["values"]) != n:
            raise XvError(f"rankings of {len(arrays['values'])} units do not fit layers of {n}")
        values, images, places, sums, n_invalid = (torch.from_numpy(np.array(arrays[name])) for name in _TENSORS)
        counts = int(arrays["n_images"]), int(arrays["last_image"])
        return cls(tuple(layers), values, images, places, sums, n_invalid, *counts)

    @property
    def _entries(self) -> Entries:
        return self.values, self.images, self.places

    def _first_ranked(self) -> int:
        """Return the lowest image number in the rankings; beyond all where they are empty."""
        beyond = torch.iinfo(self.images.dtype).max
        lowest = self.images.where(self.images != NOBODY, beyond)
        return int(lowest.min()) if lowest.numel() else beyond

    def _shape(self) -> tuple[int, tuple[tuple[str, int], ...]]:
        return self.kept, tuple((layer.name, layer.n_units) for layer in self.layers)

    def _names(self) -> tuple[np.ndarray, np.ndarray]:
        sizes = [layer.n_units for layer in self.layers]
        names = np.array([layer.name for layer in self.layers], dtype=object)
        return np.repeat(names, sizes), np.concatenate([np.arange(size) for size in sizes])


_TENSORS = ("values", "images", "places", "sums", "n_invalid")
_ALL = (*_TENSORS, "n_images", "last_image")


@dataclass(frozen=True, slots=True)
class TopActivations:
    """Finds the strongest activations of every unit in one pass over the images.

    The state stays on the network's device, and maps are reduced there as they come up: nothing of them is kept or
    copied. On a GPU the place of a maximum is looked for only where the maximum enters the ranking, which soon is rare.
    """

    kept: int = parameter(40, "Images kept per unit, more than are shown so that bad ones can be left out", ge=1)
    shown: int = parameter(9, "Images shown per unit", ge=1)
    site: Site = parameter(
        "relu",
        "Where a layer is read: after its non-linearity (the tightest receptive field), or as the paper ends a layer, "
        "behind max-pooling or normalisation",
    )

    def __post_init__(self) -> None:
        check(self)

    def layers(self, classifier: Classifier, names: Sequence[str] | None = None) -> tuple[UnitLayer, ...]:
        """Return the layers of a classifier at its input size: the named ones, or all non-linearities.

        Raises
        ------
        UnknownNameError
            A name that is no layer.
        """
        image = torch.full((1, 3, *classifier.preprocessing.input_px), 0.5, device=classifier.device)
        return unit_layers(classifier.network, classifier.logits, image, names=names, site=self.site)

    def empty(self, classifier: Classifier, names: Sequence[str] | None = None) -> UnitTops:
        """Return the rankings of no image, where a scan starts."""
        return UnitTops.empty(self.layers(classifier, names), self.kept, classifier.device)

    def of_batch(
        self, classifier: Classifier, images: Images, numbers: Int[Tensor, " batch"], before: UnitTops
    ) -> UnitTops:
        """Return the rankings over the images before and those of this batch.

        Parameters
        ----------
        classifier : frozen network
        images : RGB in [0, 1], on the classifier's device
        numbers : number of each image in its data set, at least 0; ties go to the lower one
        before : rankings so far; :meth:`empty` for none

        Raises
        ------
        XvError
            An image number below 0, given twice, or already ranked; a map of another size than the layer's.
        """
        order = sorted(int(number) for number in numbers)
        if len(order) != len(images) or min(order, default=0) < 0 or len(set(order)) < len(order):
            raise XvError(f"{len(images)} images numbered {order[:9]} …: expected distinct numbers, at least 0")
        if not order:
            return before
        return self.look(classifier, images, numbers, before).ranked()

    @torch.no_grad()
    def look(
        self, classifier: Classifier, images: Images, numbers: Int[Tensor, " batch"], before: UnitTops
    ) -> "Candidates":
        """Return what a pass over a batch adds to rankings; which images count may be told afterwards.

        Parameters
        ----------
        classifier, images, before : as for a call of :meth:`of_batch`
        numbers : distinct, at least 0
        """
        found = Candidates(before, numbers.to(before.images))
        with tapped(classifier.network, before.layers, found.take):
            found.logits = classifier.logits(images)
        return found


class Candidates:
    """The maxima of one batch, layer by layer.

    Attributes
    ----------
    logits : what the network said
    """

    logits: Scores

    def __init__(self, before: UnitTops, numbers: Int[Tensor, " batch"]) -> None:
        self._before = before
        self._numbers = numbers
        self._is_later = int(numbers.min()) > before.last_image
        self._maxima: dict[int, Tensor] = {}
        self._places: dict[int, Tensor] = {}
        sizes = [layer.n_units for layer in before.layers]
        self._last = torch.split(before.values[:, -1].contiguous(), sizes)
        self._last_image = torch.split(before.images[:, -1].contiguous(), sizes)

    def take(self, index: int, maps: Tensor) -> None:
        """Note the maximum of each unit in each image, and its place where it may enter the ranking."""
        layer = self._before.layers[index]
        size = (*maps.shape[2:], 1, 1)[:2]
        if size != layer.size:
            raise XvError(f"layer {layer.name} has maps of {size}, not of {layer.size}: images of another size?")
        if maps.ndim == 2:
            self._maxima[index], self._places[index] = maps.float(), torch.zeros_like(maps, dtype=torch.int32)
        elif maps.is_cuda:
            maxima, places = maps.flatten(2).max(2)
            self._maxima[index], self._places[index] = maxima.float(), places.int()
        elif maps.device.type == "cpu":
            # Either takes the time that torch takes for the maxima alone.
            if maps.ndim == 4 and maps.is_contiguous(memory_format=torch.channels_last):
                maxima, places = (each.flatten(1) for each in F.max_pool2d(maps, maps.shape[2:], return_indices=True))
            else:
                flat = maps.flatten(2)
                places = torch.from_numpy(flat.numpy().argmax(2))
                maxima = flat.gather(2, places[:, :, None])[:, :, 0]
            self._maxima[index], self._places[index] = maxima.float(), places.int()
        else:
            maxima = maps.amax(tuple(range(2, maps.ndim))).float()
            enters = self._enters(maxima, self._numbers, self._last[index], self._last_image[index])
            self._maxima[index], self._places[index] = maxima, self._where(maps, enters)

    def _enters(self, maxima: Tensor, numbers: Tensor, last: Tensor, last_image: Tensor) -> Tensor:
        """Say which maxima, images × units, come before the last of the ranking; false for those that are no number."""
        if self._is_later:
            return maxima > last
        return (maxima > last) | ((maxima == last) & (numbers[:, None] < last_image))

    def _where(self, maps: Tensor, enters: Tensor) -> Tensor:
        """Return the place of the maximum of the maps that may enter, 0 for the others."""
        places = torch.zeros(enters.shape, dtype=torch.int32, device=maps.device)
        image, unit = enters.nonzero(as_tuple=True)
        if len(image):
            places[image, unit] = maps[image, unit].flatten(1).argmax(1).int()
        return places

    def ranked(self, kept: Sequence[int] | None = None) -> UnitTops:
        """Return the rankings with the maxima of the images at the places ``kept`` in, of all for None."""
        return Candidates.ranked_together([(self, kept)])

    @staticmethod
    def ranked_together(parts: Sequence[tuple["Candidates", Sequence[int] | None]]) -> UnitTops:
        """Return the rankings with the maxima of several batches in, which were looked at with the same ones before.

        Parameters
        ----------
        parts : batches without an image in common, at least one, and which of their images count, all for None
        """
        found = [part._counted(kept) for part, kept in parts]
        maxima, places, seen = (torch.cat(each) for each in zip(*found, strict=True))
        one = next((part for part, _ in parts if not part._is_later), parts[0][0])
        return one._with(maxima, places, seen) if len(seen) else one._before

    def _counted(self, kept: Sequence[int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return maxima and places, images × units, and numbers of the images that count."""
        indices = range(len(self._before.layers))
        found = (
            torch.cat([self._maxima[index] for index in indices], 1),
            torch.cat([self._places[index] for index in indices], 1),
        )
        if kept is None or len(kept) == len(self._numbers):
            return *found, self._numbers
        counted = torch.tensor(list(kept), dtype=torch.long, device=self._numbers.device)
        maxima, places, seen = (each.index_select(0, counted) for each in (*found, self._numbers))
        return maxima, places, seen

    def _with(self, maxima: Tensor, places: Tensor, seen: Tensor) -> UnitTops:
        before = self._before
        is_in_order = self._is_later and bool((seen[1:] > seen[:-1]).all())
        rows = self._enters(maxima, seen, before.values[:, -1], before.images[:, -1]).any(0).nonzero()[:, 0]
        chosen = maxima[:, rows].T
        numbers = torch.where(chosen.isnan(), NOBODY, seen)
        # Where there was no image before, as many empty places as the new ones leave are enough.
        n_old = before.kept if before.n_images else max(before.kept - chosen.shape[1], 0)
        old = (before.values[rows, :n_old], before.images[rows, :n_old], before.places[rows, :n_old])
        if not self._is_later:
            _check_disjoint(old[1], numbers)
        values, images, found = _ranked(
            old,
            (torch.where(chosen.isnan(), -torch.inf, chosen), numbers, places[:, rows].T),
            before.kept,
            are_in_order=is_in_order,
        )
        is_valid = ~maxima.isnan()
        quanta = torch.where(is_valid, maxima, 0).double().div_(SUM_QUANTUM).round_()
        return UnitTops(
            before.layers,
            before.values.index_copy(0, rows, values),
            before.images.index_copy(0, rows, images),
            before.places.index_copy(0, rows, found),
            before.sums + quanta.sum(0) * SUM_QUANTUM,
            before.n_invalid + (~is_valid).sum(0),
            before.n_images + len(seen),
            max(before.last_image, int(seen.max())),
        )


def _n_counted(n_seen: Int[np.ndarray, " units"], first: int, shown: int | None) -> Int[np.ndarray, " units"]:
    """Return how many of the strongest images tell something of each unit: fewer than it saw, else 0."""
    fewer = min(shown or 0, first)
    return np.where(n_seen > first, first, np.where(n_seen > fewer, fewer, 0))


def _ranked(some: Entries, others: Entries, kept: int, *, are_in_order: bool = False) -> Entries:
    """Return the strongest entries of each row, equal ones by rising image number.

    ``are_in_order`` says that those of ``some`` are ranked and lower in number than the others, and these ranked too,
    or rising in number.
    """
    values, images, places = (torch.cat(pair, 1) for pair in zip(some, others, strict=True))
    if are_in_order:
        order = _largest(values, kept)
    else:
        by_image = images.argsort(stable=True, dim=1)
        order = by_image.gather(1, _largest(values.gather(1, by_image), kept))
    return values.gather(1, order), images.gather(1, order), places.gather(1, order)


def _largest(values: Float[Tensor, "units entries"], kept: int) -> Int[Tensor, "units kept"]:
    """Return the places of the largest values of each row, equal ones in their order; none may be NaN."""
    if values.device.type != "cpu":
        return values.argsort(stable=True, dim=1, descending=True)[:, :kept]
    # Whole numbers that rise as the values fall, with the place behind: NumPy sorts them in a third of torch's time.
    bits = (values + 0.0).numpy().view(np.int32)  # -0.0 is 0.0
    falling = ~(bits ^ ((bits >> 31) & 0x7FFFFFFF))
    keys = (falling.astype(np.int64) << 32) | np.arange(values.shape[1])
    if kept < values.shape[1]:
        keys.partition(kept - 1, axis=1)
    return torch.from_numpy(np.sort(keys[:, :kept], axis=1) & 0xFFFFFFFF)


def _check_disjoint(some: Tensor, others: Tensor) -> None:
    """Refuse rankings, row by row, that share an image."""
    numbers = torch.cat([some, others], 1).sort(1).values
    if bool(((numbers[:, 1:] == numbers[:, :-1]) & (numbers[:, 1:] != NOBODY)).any()):
        raise XvError("an image is in the ranking already: what is merged must be of disjoint images")
