"""Whether patches come from the images of a class more often than by chance: images are drawn, not patches."""

from collections.abc import Sequence

import numpy as np


def of_class_by_chance(patches: Sequence[int], n_own: int, n_class: int, n_images: int) -> float:
    """Return how likely at least so many patches would be of a class whose images were any of all.

    Under the null the images of the class are drawn without replacement. An image that gives several patches gives all
    of them or none, which is more spread out than as many images would be; with one patch an image it is Fisher's
    exact test (the upper tail of the hypergeometric distribution).

    Parameters
    ----------
    patches : how many patches each image gives, of the images that give any
    n_own : patches that are of the class
    n_class : images of the class
    n_images : images of all classes

    >>> round(of_class_by_chance([1, 1, 1], 3, 5, 10), 4)
    0.0833
    """
    likely = np.zeros((min(len(patches), n_class) + 1, sum(patches) + 1))
    likely[0, 0] = 1.0  # by images of the class among those that were looked at, and their patches
    taken = np.arange(len(likely))
    for seen, number in enumerate(patches):
        chance = np.clip((n_class - taken) / (n_images - seen), 0.0, 1.0)[:, None]
        drawn = likely * chance
        likely = likely - drawn
        likely[1:, number:] += drawn[:-1, : likely.shape[1] - number]
    return float(likely[:, n_own:].sum())
