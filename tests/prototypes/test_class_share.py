"""Laws of the test of whose patches prototypes have: all ways to choose the images of a class, counted one by one."""

from itertools import combinations

import pytest
from scipy.stats import hypergeom

from xvcore.prototypes.method.class_share import of_class_by_chance


@pytest.mark.parametrize(("patches", "n_class", "n_images"), [([3, 1, 2], 3, 8), ([1, 4], 4, 6), ([2, 2, 1, 1], 2, 4)])
def test_it_counts_the_ways_to_choose_the_images_of_a_class(patches: list[int], n_class: int, n_images: int) -> None:
    of_image = [*patches, *[0] * (n_images - len(patches))]
    ways = [sum(of_image[each] for each in chosen) for chosen in combinations(range(n_images), n_class)]
    for n_own in range(sum(patches) + 1):
        expected = sum(way >= n_own for way in ways) / len(ways)
        assert of_class_by_chance(patches, n_own, n_class, n_images) == pytest.approx(expected)


def test_with_one_patch_an_image_it_is_fishers_test() -> None:
    assert of_class_by_chance([1] * 5, 4, 30, 90) == pytest.approx(hypergeom.sf(3, 90, 30, 5))


def test_images_that_give_several_patches_make_a_chance_more_likely() -> None:
    assert of_class_by_chance([5, 5], 10, 10, 40) > of_class_by_chance([1] * 10, 10, 10, 40) > 0


def test_nothing_is_sure_where_all_images_are_of_the_class() -> None:
    assert of_class_by_chance([1, 2], 3, 7, 7) == pytest.approx(1)
