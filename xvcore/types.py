"""Tensors that cross a module border, with named axes.

All pictures are RGB in [0, 1] **before** the network's normalisation: a classifier normalises by itself, so that
a perturbation (blur, mean, noise) means the same for every network.
"""

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "batch 3 height width"]
"""RGB, in [0, 1], at the classifier's input size."""
Targets = Int[Tensor, "batch"]
"""Index of the network's output to be explained, one per image."""
Scores = Float[Tensor, "batch classes"]
"""Logits (before softmax) or probabilities (after), one row per image."""
Probabilities = Float[Tensor, "batch"]
"""Probability of the target, in [0, 1]."""
Maps = Float[Tensor, "batch 1 height width"]
"""One number per pixel. A mask is a map in [0, 1] in which 1 keeps the pixel."""
Boxes = Float[Tensor, "boxes 4"]
"""x, y (top left corner), w, h in pixels of the network's input."""
Descriptors = Float[Tensor, "boxes dimensions"]
"""Whitened descriptors, one row per box; their dot product is the appearance similarity."""
