"""What a mask pays for being large, ragged or soft; values and gradients of each mask by itself."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from xvcore.ops.total_variation import total_variation, total_variation_gradient
from xvcore.types import Maps


@dataclass(frozen=True, slots=True)
class MaskPenalty:
    """Area, total variation and softness of a mask, weighted [1]_.

    ::

        area_weight · mean |1 − m|  +  variation_weight · TV(m)  +  crispness_weight · mean |m (1 − m)|

    Parameters
    ----------
    area_weight, variation_weight, crispness_weight : factors of the three terms
    free_area : a, the share of the elements below which area costs nothing: with it the first term is
        ``area_weight · max(0, A − a)² / (2 a)`` of the area A (ours); 0 is the term as above
    variation_power : exponent of the differences in TV
    isotropic : which TV, see :func:`xvcore.ops.total_variation.total_variation`
    summed : sums over the mask's elements in place of means

    Notes
    -----
    The gradient is written out, since a step on a small network would otherwise cost more in the penalty's graph than
    in the network. At the kinks (m = 0, m = 1) |·| has derivative 0, as in torch: an element that has reached 0 or 1
    is held there by nothing but the other terms.

    References
    ----------
    .. [1] M. Godi, M. Carletti, M. Aghaei, F. Giuliari, M. Cristani, "Understanding Deep Architectures by Visual
       Summaries", BMVC 2018.
    """

    area_weight: float
    variation_weight: float
    crispness_weight: float = 0.0
    variation_power: float = 3.0
    isotropic: bool = False
    summed: bool = False
    free_area: float = 0.0

    def __call__(self, masks: Maps) -> Float[Tensor, " batch"]:
        """Return the penalty of each mask."""
        removed = (1 - masks).abs()
        area = self._per_mask(removed)
        if self.free_area:
            n_counted = self.share(masks) * masks[0].numel()
            area = self._excess(removed).square().flatten() * (n_counted * self.free_area / 2)
        softness = self._per_mask((masks * (1 - masks)).abs())
        variation = total_variation(masks, self.variation_power, isotropic=self.isotropic, summed=self.summed)
        return self.area_weight * area + self.variation_weight * variation + self.crispness_weight * softness

    def gradient(self, masks: Maps) -> Maps:
        """Return the derivative of each mask's penalty by its elements."""
        share = self.share(masks)
        removed = 1 - masks
        gradient = removed.sign().mul_(-self.area_weight * share)
        if self.free_area:
            gradient.mul_(self._excess(removed.abs()))
        if self.crispness_weight:
            is_soft = (masks * removed).sign_()
            gradient.addcmul_(is_soft, removed.sub_(masks), value=self.crispness_weight * share)
        if self.variation_weight:
            slope = total_variation_gradient(masks, self.variation_power, isotropic=self.isotropic, summed=self.summed)
            gradient.add_(slope, alpha=self.variation_weight)
        return gradient

    def share(self, masks: Maps) -> float:
        """Return by how much an element counts: 1 in a sum, one over their number in a mean."""
        return 1.0 if self.summed else 1.0 / masks[0].numel()

    def _excess(self, removed: Maps) -> Float[Tensor, "batch 1 1 1"]:
        """Return by how much the area exceeds the free one, in shares of it; 0 where it does not."""
        return (removed.mean(dim=(1, 2, 3), keepdim=True) / self.free_area - 1).clamp_(min=0)

    def _per_mask(self, values: Maps) -> Float[Tensor, " batch"]:
        return values.sum(dim=(1, 2, 3)) if self.summed else values.mean(dim=(1, 2, 3))
