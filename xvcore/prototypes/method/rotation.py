"""The orthogonal map of channels: a rotation that is trained as a skew-symmetric matrix.

``S = A - Aᵀ`` is skew-symmetric for any square ``A``, and both of its maps are rotations (orthogonal, determinant 1):

- Cayley's, ``U = (I + S)⁻¹ (I - S)``, one linear system: the default;
- the matrix exponential, ``U = exp(S)``, as EPIC's code has it [2]_.

That the optimisation of InfoDisent goes over skew-symmetric matrices is known from its reviews [1]_; which of the two
maps it takes is not. Cayley's is the nearer to orthogonal in float32 and the quicker by far for hundreds of channels
(``tests/benchmarks/disentangle.py`` measures both).

References
----------
.. [1] Ł. Struski, D. Rymarczyk, J. Tabor, "InfoDisent: Explainability of Image Classification Models by Information
   Disentanglement", arXiv 2409.10329, 2024.
.. [2] P. Borycki et al., "EPIC: Explanation of Pretrained Image Classification Networks via Prototype", AAAI 2026.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Mapping = Literal["cayley", "exponential"]
Square = Float[Tensor, "channels channels"]


def rotation_of(free: Square, mapping: Mapping) -> Square:
    """Return the rotation of a square matrix, the identity for zeros; differentiable."""
    skew = free - free.mT
    if mapping == "exponential":
        rotation: Tensor = torch.linalg.matrix_exp(skew)
        return rotation
    one = torch.eye(len(skew), dtype=skew.dtype, device=skew.device)
    solved: Tensor = torch.linalg.solve(one + skew, one - skew)
    return solved


class Rotation(nn.Module):
    """A trainable rotation of channels; the identity until it is trained.

    Parameters
    ----------
    n_channels : number of channels
    mapping : from skew-symmetric matrices to rotations
    """

    def __init__(self, n_channels: int, mapping: Mapping = "cayley") -> None:
        super().__init__()
        self.mapping = mapping
        self.free = nn.Parameter(torch.zeros(n_channels, n_channels))
        self._kept: tuple[tuple[int, int, torch.dtype, str], Tensor] | None = None

    def matrix(self) -> Square:
        """Return the matrix U.

        While it is trained, anew from the parameters; else it is computed once, in float64, and kept.
        """
        if self.training and self.free.requires_grad:
            with torch.autocast(self.free.device.type, enabled=False):
                return rotation_of(self.free, self.mapping)
        if self.free.is_meta:  # shapes alone are asked for
            return self.free.detach()
        key = (id(self.free), self.free._version, self.free.dtype, str(self.free.device))
        if self._kept is None or self._kept[0] != key:
            with torch.inference_mode(mode=False), torch.no_grad():  # what is kept serves gradients of images too
                exact = rotation_of(self.free.detach().double().cpu(), self.mapping)
                self._kept = key, exact.to(self.free)
        return self._kept[1]
