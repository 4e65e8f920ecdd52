"""The strongest patches of each class: the definition by sorting everything, and no order matters."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xvcore.errors import ParameterError, XvError
from xvcore.evidence.method.top_patches import ORIGINS, PatchSummary, TopPatches, crop
from xvcore.ops.patch_grid import PatchGrid

N_TARGETS, ROWS, COLUMNS = 3, 4, 5
BOXES = PatchGrid(9, 8).boxes(8 * ROWS + 1, 8 * COLUMNS + 1)


def drawn(n: int, seed: int = 0, *, levels: int = 0):
    """Return evidence, image numbers and class of each image; with few levels most values are equal."""
    generator = torch.Generator().manual_seed(seed)
    evidence = torch.randn(n, N_TARGETS, ROWS, COLUMNS, generator=generator)
    if levels:
        evidence = (evidence * levels).round() / levels
    numbers = torch.randperm(10 * n, generator=generator)[:n]
    labels = torch.randint(0, N_TARGETS + 1, (n,), generator=generator)
    return evidence, numbers, labels[:, None] == torch.arange(N_TARGETS)


def by_sorting(evidence, numbers, members, n_kept):
    """Return the lists literally: every patch of every image, sorted, the first of each image, the first of those."""
    found = []
    for target, origin in itertools.product(range(N_TARGETS), ORIGINS):
        patches = sorted(
            (-float(evidence[index, target, row, column]), int(numbers[index]), row, column)
            for index in range(len(numbers))
            if bool(members[index, target]) == (origin == "class")
            for row in range(ROWS)
            for column in range(COLUMNS)
        )
        seen, kept = set(), []
        for value, image, row, column in patches:
            if image not in seen:
                seen.add(image)
                kept.append((target, origin, len(seen), image, row, column, -value))
        found += kept[:n_kept]
    return found


def as_tuples(summary: PatchSummary):
    rows = summary.rows(BOXES)
    return [(r.target, r.origin, r.position, r.image, r.row, r.column, r.evidence) for r in rows]


def are_equal(one: PatchSummary, other: PatchSummary) -> bool:
    names = ("evidence", "images", "rows_of", "columns_of", "sums", "n_images")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("levels", [0, 2])
@pytest.mark.parametrize(("n", "n_kept"), [(30, 4), (5, 7), (1, 1)])
def test_the_lists_are_those_of_sorting_everything(n, n_kept, levels):
    evidence, numbers, members = drawn(n, levels=levels)
    summary = TopPatches(n_kept).of_batch(evidence, numbers, members)
    assert as_tuples(summary) == by_sorting(evidence, numbers, members, n_kept)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 3), st.lists(st.integers(0, 4), min_size=12, max_size=12), st.randoms())
def test_order_and_number_of_shards_do_not_matter(seed, levels, shard_of, random):
    evidence, numbers, members = drawn(12, seed, levels=levels)
    top = TopPatches(3)
    whole = top.of_batch(evidence, numbers, members)
    shards = [[index for index in range(12) if shard_of[index] == shard] for shard in set(shard_of)]
    parts = [top.of_batch(evidence[each], numbers[each], members[each]) for each in shards]
    while len(parts) > 1:  # any tree of merges
        random.shuffle(parts)
        parts.append(parts.pop().merge(parts.pop()))
    assert are_equal(parts[0], whole)


def test_merging_commutes_and_associates():
    evidence, numbers, members = drawn(30, levels=1)
    a, b, c = (
        TopPatches(4).of_batch(evidence[part], numbers[part], members[part])
        for part in (slice(0, 3), slice(3, 20), slice(20, 30))
    )
    assert are_equal(a.merge(b), b.merge(a))
    assert are_equal(a.merge(b).merge(c), a.merge(b.merge(c)))


def test_mean_maps_are_the_means_over_members_and_over_the_others():
    evidence, numbers, members = drawn(25)
    means = TopPatches().of_batch(evidence, numbers, members).mean_maps
    for target in range(N_TARGETS):
        for origin, chosen in enumerate((members[:, target], ~members[:, target])):
            expected = evidence[chosen, target].double().mean(0)
            assert (means[target, origin] - expected).abs().max() < 1e-6
    alone = TopPatches().of_batch(evidence[:1], numbers[:1], torch.ones(1, N_TARGETS, dtype=torch.bool))
    assert alone.mean_maps[:, 1].isnan().all()


def test_boxes_are_the_patches_in_the_image():
    evidence = torch.zeros(1, N_TARGETS, ROWS, COLUMNS)
    evidence[0, 1, 2, 3] = 5
    summary = TopPatches().of_batch(evidence, torch.tensor([8]), torch.ones(1, N_TARGETS, dtype=torch.bool))
    first, second, _ = summary.rows(BOXES)
    assert (second.box, second.evidence, second.image) == ((24, 16, 9, 9), 5, 8)
    assert first.box == (0, 0, 9, 9)  # all equal: the first patch


def test_crops_hold_the_pixels_of_the_box_and_zeros_beyond_the_image():
    image = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    assert torch.equal(crop(image, (8, 3, 9, 9)), image[:, 3:12, 8:17])
    padded = torch.nn.functional.pad(image, [16] * 4)
    for x, y in ((-16, -4), (25, 15), (-3, 12), (30, 20)):
        assert torch.equal(crop(image, (x, y, 9, 9)), padded[:, y + 16 : y + 25, x + 16 : x + 25])
    assert crop(image, (4.3, 4.3, 4.3, 4.3)).shape == (3, 5, 5)
    assert crop(image, (4.3, 4.3, 0.2, 0.2)).shape == (3, 1, 1)


def test_what_cannot_be_ranked_or_merged_is_refused():
    evidence, numbers, members = drawn(4)
    top = TopPatches(2)
    summary = top.of_batch(evidence, numbers, members)
    with pytest.raises(XvError, match="finite"):
        top.of_batch(evidence.where(evidence < 1, torch.nan), numbers, members)
    with pytest.raises(XvError, match="once"):
        top.of_batch(evidence, torch.tensor([1, 2, 1, 3]), members)
    with pytest.raises(XvError, match="are in both"):
        summary.merge(summary)
    with pytest.raises(XvError, match="cannot be merged"):
        summary.merge(TopPatches(3).of_batch(evidence, numbers + 50, members))
    with pytest.raises(XvError, match="cannot be merged"):
        summary.merge(top.of_batch(evidence[..., 1:], numbers + 50, members))
    with pytest.raises(ParameterError, match="n_kept"):
        TopPatches(0)
