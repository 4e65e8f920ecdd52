"""The rotation alone, for pure prototypes: predictions stay what they are (EPIC).

A pixel is *pure* in channel k where it has nothing else: ``purity = p_k / ‖p‖`` for the vector p of the rotated map at
the pixel where channel k is largest [1]_. The rotation is moved so that the mean purity over the strongest images of
every channel grows; which images these are is found anew every other epoch, and their number falls from many to a few.
The network's classifier takes the rotation back, so no logit changes.

EPIC ranks images by the sum of a channel's map; so do we.

References
----------
.. [1] P. Borycki et al., "EPIC: Explanation of Pretrained Image Classification Networks via Prototype", AAAI 2026.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xvcore.parameters import check, parameter
from xvcore.prototypes.method.rotation import Rotation

Maps = Float[Tensor, "images positions channels"]


@dataclass(frozen=True, slots=True)
class Purity:
    """Trains a rotation for pure prototypes; the defaults are those of EPIC's code."""

    epochs: int = parameter(20, "Epochs", ge=1)
    rate: float = parameter(1e-3, "Learning rate of Adam", ge=0)
    weight_decay: float = parameter(1e-5, "Weight decay of Adam", ge=0)
    batch_size: int = parameter(512, "Pairs of prototype and image in a step", ge=1)
    first: int = parameter(100, "Images of a prototype at the start", ge=1)
    last: int = parameter(5, "Images of a prototype at the end", ge=1)
    every: int = parameter(2, "Epochs after which the images are found anew", ge=1)

    def __post_init__(self) -> None:
        check(self)

    def __call__(
        self, rotation: Rotation, maps: Maps, seed: int, after_epoch: Callable[[int, float], None] | None = None
    ) -> list[float]:
        """Train the rotation in place, and return the mean purity of each epoch."""
        optimiser = torch.optim.Adam(rotation.parameters(), lr=self.rate, weight_decay=self.weight_decay)
        found: list[float] = []
        pairs = torch.zeros(0, 2, dtype=torch.long)
        pixels = maps.new_zeros(0, maps.shape[2])
        for epoch in range(self.epochs):
            if epoch % self.every == 0:
                share = epoch / max(1, self.epochs - 1)
                number = round(self.first + (self.last - self.first) * share)
                pairs, pixels = strongest(rotation.eval().matrix(), maps, number)
            order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
            rotation.train()
            total = 0.0
            for chosen in order.split(self.batch_size):
                vectors = pixels[pairs[chosen, 1]].to(rotation.free).float() @ rotation.matrix().mT
                purity = purity_of(vectors, pairs[chosen, 0].to(vectors.device)).mean()
                optimiser.zero_grad()
                (-purity).backward()
                optimiser.step()
                total += float(purity.detach()) * len(chosen)
            found.append(total / max(1, len(pairs)))
            if after_epoch:
                after_epoch(epoch, found[-1])
        rotation.eval()
        return found


def purity_of(vectors: Float[Tensor, "pairs channels"], channels: Int[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Return the purity of pixels: the share of a channel in the length of the vector, -1 … 1."""
    found: Tensor = vectors.gather(1, channels[:, None])[:, 0] / vectors.norm(dim=1).clamp_min(1e-12)
    return found


@torch.no_grad()
def strongest(
    matrix: Float[Tensor, "channels channels"], maps: Maps, number: int
) -> tuple[Int[Tensor, "pairs 2"], Float[Tensor, "pixels channels"]]:
    """Return pairs of channel and row of pixels, and these pixels before the rotation.

    Parameters
    ----------
    matrix : the rotation
    maps : of all images
    number : images of a channel, those whose map has the largest sum
    """
    sums, places = [], []
    for part in maps.split(64):
        turned = part.to(matrix).float() @ matrix.mT
        sums.append(turned.sum(dim=1).cpu())
        places.append(turned.argmax(dim=1).cpu())
    best = torch.cat(sums).topk(min(number, len(maps)), dim=0).indices  # images × channels
    place = torch.cat(places).gather(0, best)
    keys = best * maps.shape[1] + place
    pixels, rows = keys.flatten().unique(return_inverse=True)
    channels = torch.arange(best.shape[1]).expand_as(best).flatten()
    return torch.stack([channels, rows], dim=1), maps.flatten(0, 1)[pixels].float()
