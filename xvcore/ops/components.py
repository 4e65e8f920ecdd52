"""Connected components of binary maps."""

import cv2
import numpy as np
from jaxtyping import Bool


def count_components(binary: Bool[np.ndarray, "height width"]) -> int:
    """Return the number of connected regions of True; pixels that touch at a corner belong together."""
    n_labels, _ = cv2.connectedComponents(binary.astype(np.uint8), connectivity=8)
    return int(n_labels) - 1  # one label is the background's
