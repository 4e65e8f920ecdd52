"""The streaming ranking against a full sort of all maps."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from xvcore.errors import UnknownNameError, XvError
from xvcore.models import Architecture, Classifier, Preprocessing, load
from xvcore.ops.full_precision import full_precision
from xvcore.store import SCHEMAS
from xvcore.units.method.top_activations import TopActivations, UnitTops

N_IMAGES, KEPT = 23, 5


class Small(nn.Module):
    """Two convolutions with one shared rectifier, a token-like layer, and a linear head."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 7, 3, padding=1)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2)
        self.hidden, self.head = nn.Linear(7, 8), nn.Linear(8, n_classes)

    def forward(self, x):
        x = self.pool(self.relu(self.first(x)))
        x = self.relu(self.second(x))
        return self.head(torch.relu(self.hidden(x.sum((2, 3)))))


def classifier_of(network, px=12):
    preprocessing = Preprocessing(input_px=(px, px), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Classifier(
        "small", Architecture("small", Small, preprocessing, 3), preprocessing, network, "drawn", "0" * 64, 3
    )


@pytest.fixture
def classifier():
    torch.manual_seed(4)
    network = Small()
    with torch.no_grad():
        for weights in network.parameters():  # eighths, so that sums are exact in any order
            weights.mul_(8).round_().div_(8)
        network.first.bias[2] = -100.0  # dead
        network.second.weight[3], network.second.bias[3] = 0.0, 0.25  # equal everywhere
    return classifier_of(network)


@pytest.fixture
def images():
    # multiples of 1/4: many equal maxima; a batch of any size gives the same bits
    return torch.randint(0, 5, (N_IMAGES, 3, 12, 12), generator=torch.Generator().manual_seed(1)) / 4


def literal(classifier, images, kept):
    """Sort every image's maximum of every unit: (value descending, image ascending); first place in raster order."""
    with torch.no_grad():
        network, x = classifier.network, (images - 0.5) / 0.5
        one = torch.relu(network.first(x))
        two = torch.relu(network.second(network.pool(one)))
        hidden = torch.relu(network.hidden(two.sum((2, 3))))[:, :, None, None]
    rows = []
    for layer, maps in (("relu:1", one), ("relu:2", two), ("hidden", hidden)):
        for unit in range(maps.shape[1]):
            found = []
            for image in range(len(images)):
                flat = maps[image, unit].flatten().numpy()
                place = int(np.flatnonzero(flat == flat.max())[0])
                found.append((-float(flat.max()), image, *divmod(place, maps.shape[3])))
            for position, (value, image, y, x) in enumerate(sorted(found)[:kept], 1):
                if value < 0:
                    rows.append((layer, unit, position, f"image {image}", -value, y, x))
    columns = ["layer", "unit", "position", "image_id", "activation", "map_y", "map_x"]
    return pd.DataFrame(rows, columns=columns)


IDS = [f"image {number}" for number in range(N_IMAGES)]


def scan(classifier, images, batches, kept=KEPT):
    tops = TopActivations(kept=kept).empty(classifier)
    for batch in batches:
        numbers = torch.tensor(batch)
        tops = TopActivations(kept=kept).of_batch(classifier, images[numbers], numbers, tops)
    return tops


def batches_of(numbers, size):
    return [list(numbers[start : start + size]) for start in range(0, len(numbers), size)]


def assert_same(one: UnitTops, other: UnitTops):
    one, other = one.arrays(), other.arrays()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("size", [1, 4, 23])
def test_the_stream_is_a_full_sort(classifier, images, size):
    found = scan(classifier, images, batches_of(range(N_IMAGES), size)).top(IDS)
    expected = literal(classifier, images, KEPT)
    assert len(expected) > 80
    pd.testing.assert_frame_equal(
        found[expected.columns], expected, check_dtype=False, check_exact=False, rtol=1e-6, atol=1e-6
    )


def test_order_and_batches_do_not_matter(classifier, images):
    shuffled = np.random.default_rng(0).permutation(N_IMAGES)
    whole = scan(classifier, images, batches_of(range(N_IMAGES), 4))
    assert_same(scan(classifier, images, batches_of(shuffled, 5)), whole)
    assert_same(scan(classifier, images, batches_of(range(N_IMAGES)[::-1], 3)), whole)


@pytest.mark.parametrize("n_shards", [1, 2, 5])
def test_merged_shards_are_a_single_pass_in_any_order(classifier, images, n_shards):
    whole = scan(classifier, images, batches_of(range(N_IMAGES), 4))
    shards = [scan(classifier, images, batches_of(range(first, N_IMAGES, n_shards), 4)) for first in range(n_shards)]
    for order in itertools.islice(itertools.permutations(shards), 0, None, 7):
        merged = order[0]
        for shard in order[1:]:
            merged = merged.merged(shard)
        assert_same(merged, whole)
    left_first = shards[0].merged(shards[-1]) if n_shards > 1 else whole
    assert left_first.n_images == sum(len(range(first, N_IMAGES, n_shards)) for first in {0, n_shards - 1})


def test_an_empty_ranking_changes_nothing_and_survives_storage(classifier, images):
    tops = scan(classifier, images, batches_of(range(9), 4))
    assert_same(tops.merged(TopActivations(kept=KEPT).empty(classifier)), tops)
    assert_same(UnitTops.of_arrays(tops.layers, tops.arrays()), tops)


def test_a_units_images_are_distinct(classifier, images):
    found = scan(classifier, images, batches_of(range(N_IMAGES), 4)).top(IDS)
    assert not found.duplicated(["layer", "unit", "image_id"]).any()
    with pytest.raises(XvError, match="in the ranking already"):
        scan(classifier, images, [[0, 1, 2], [2, 3]])
    with pytest.raises(XvError, match="distinct numbers"):
        scan(classifier, images, [[0, 1, 1]])
    some = scan(classifier, images, [[0, 1, 2]])
    with pytest.raises(XvError, match="in the ranking already"):
        some.merged(scan(classifier, images, [[2, 3]]))


def test_dead_units_are_flagged_and_show_no_image(classifier, images):
    tops = scan(classifier, images, batches_of(range(N_IMAGES), 4))
    units = tops.units(["a"] * N_IMAGES)
    dead = units[units["dead"]]
    assert ("relu:1", 2) in set(zip(dead["layer"], dead["unit"], strict=True))
    assert dead["top_class_id"].isna().all()
    assert dead["act_max"].max() <= 0
    top = tops.top(IDS)
    alive = set(zip(top["layer"], top["unit"], strict=True))
    assert alive.isdisjoint(zip(dead["layer"], dead["unit"], strict=True))
    assert len(alive) + len(dead) == len(units) == 6 + 7 + 8


def test_equal_activations_go_to_the_lower_image_numbers(classifier, images):
    top = scan(classifier, images, batches_of(range(N_IMAGES)[::-1], 4)).top(IDS)
    equal = top[(top["layer"] == "relu:2") & (top["unit"] == 3)]
    assert equal["image_id"].tolist() == IDS[:KEPT]
    assert (equal[["map_y", "map_x"]] == 0).all(axis=None)


def test_statistics_are_those_of_all_images(classifier, images):
    tops = scan(classifier, images, batches_of(range(N_IMAGES), 4))
    everything = literal(classifier, images, N_IMAGES)
    mean = everything.groupby(["layer", "unit"])["activation"].sum() / N_IMAGES
    units = tops.units(["a"] * N_IMAGES).set_index(["layer", "unit"])
    assert (units["n_images"] == N_IMAGES).all()
    alive = units[~units["dead"]]
    np.testing.assert_allclose(alive["act_mean"], mean.loc[alive.index], rtol=1e-5)
    highest = everything.groupby(["layer", "unit"])["activation"].max()
    np.testing.assert_allclose(alive["act_max"], highest.loc[alive.index], rtol=1e-6)


@pytest.mark.parametrize("first", [None, 3])
def test_class_statistics_count_the_strongest_images(classifier, images, first):
    class_ids = [["cat", "bird", "ant"][number % 3 if number < 12 else 1] for number in range(N_IMAGES)]
    tops = scan(classifier, images, batches_of(range(N_IMAGES), 4))
    units, top = tops.units(class_ids, first=first), tops.top(IDS, first=first)
    for (layer, unit), rows in top.groupby(["layer", "unit"]):
        counts = rows["image_id"].map(dict(zip(IDS, class_ids, strict=True))).value_counts()
        row = units[(units["layer"] == layer) & (units["unit"] == unit)].iloc[0]
        assert row["top_class_id"] == min(counts.index[counts == counts.max()])
        assert row["top_class_share"] == pytest.approx(counts.max() / counts.sum())
        shares = counts / counts.sum()
        assert row["class_entropy"] == pytest.approx(-(shares * np.log2(shares)).sum(), abs=1e-6)


@pytest.mark.parametrize("n_images", [2, 3, 4, 8, 9])
def test_class_statistics_are_never_over_all_images_that_were_seen(classifier, images, n_images):
    kept, shown = 8, 3
    class_ids = ["cat", "bird"] * (N_IMAGES // 2 + 1)
    tops = scan(classifier, images, [list(range(n_images))], kept=kept)
    units = tops.units(class_ids[:n_images], shown=shown)
    counted = kept if n_images > kept else shown if n_images > shown else 0
    top = tops.top(class_ids[:n_images], first=counted)
    shares = top.groupby(["layer", "unit"])["image_id"].agg(lambda each: each.value_counts(normalize=True).max())
    found = units.set_index(["layer", "unit"])
    statistics = ["top_class_id", "top_class_share", "class_entropy"]
    assert found.loc[~found.index.isin(shares.index), statistics].isna().all(axis=None)
    np.testing.assert_allclose(found.loc[shares.index, "top_class_share"], shares.astype(float), rtol=1e-6)
    assert len(shares) == (~units["dead"]).sum() * (counted > 0)
    without = tops.units(class_ids[:n_images])
    assert without.loc[~units["dead"], statistics].isna().all(axis=None) == (n_images <= kept)


def test_a_map_that_is_no_number_is_not_seen_by_the_class_statistics(classifier, images):
    images = images.clone()
    images[4, :, 3, 3] = torch.nan
    units = scan(classifier, images, [list(range(KEPT + 1))]).units(["a"] * (KEPT + 1))
    assert (units["n_images"] == KEPT).all()
    assert units[["top_class_id", "top_class_share", "class_entropy"]].isna().all(axis=None)


def test_maps_that_are_no_numbers_are_left_out_and_counted(classifier, images):
    images = images.clone()
    images[4, :, 3, 3] = torch.nan
    tops = scan(classifier, images, batches_of(range(N_IMAGES), 4))
    assert "image 4" not in set(tops.top(IDS)["image_id"])
    assert (tops.n_invalid == 1).all()
    units = tops.units(["a"] * N_IMAGES)
    assert (units["n_images"] == N_IMAGES - 1).all()
    assert np.isfinite(units["act_mean"]).all()


def test_boxes_are_the_receptive_fields(classifier, images):
    top = scan(classifier, images, [list(range(6))]).top(IDS)
    one, two, hidden = (top[top["layer"] == layer] for layer in ("relu:1", "relu:2", "hidden"))
    assert (one[["w", "h"]] == 3).all(axis=None)
    assert (one["x"] == one["map_x"] - 1).all()
    assert (two[["w", "h"]] == 9).all(axis=None)
    assert (two["y"] == 2 * two["map_y"] - 3).all()
    assert (hidden["w"] >= 12).all()


def test_a_site_behind_the_pooling_has_the_same_maxima_where_it_drops_no_border(classifier, images):
    relu, pool = TopActivations(kept=KEPT), TopActivations(kept=KEPT, site="pool")
    assert [layer.name for layer in relu.layers(classifier)] == ["relu:1", "relu:2", "hidden"]
    assert [layer.name for layer in pool.layers(classifier)] == ["pool", "relu:2", "hidden"]
    numbers, some = torch.arange(6), images[:6]
    at_relu = relu.of_batch(classifier, some, numbers, relu.empty(classifier))
    at_pool = pool.of_batch(classifier, some, numbers, pool.empty(classifier))
    assert (at_pool.values[:6] <= at_relu.values[:6]).all()
    assert torch.equal(at_pool.values[6:], at_relu.values[6:])


def test_layers_can_be_chosen_and_unknown_ones_are_refused(classifier):
    summary = TopActivations()
    (chosen,) = summary.layers(classifier, ["second"])
    assert (chosen.n_units, chosen.size) == (7, (5, 5))
    with pytest.raises(UnknownNameError, match="did you mean second"):
        summary.layers(classifier, ["secnd"])
    with pytest.raises(UnknownNameError, match="relu:1"):
        summary.layers(classifier, ["relu"])


def test_rankings_of_other_layers_or_sizes_are_refused(classifier, images):
    summary = TopActivations(kept=KEPT)
    with pytest.raises(XvError, match="cannot be merged"):
        summary.empty(classifier).merged(summary.empty(classifier, ["second"]))
    with pytest.raises(XvError, match="do not fit layers of 7"):
        UnitTops.of_arrays(summary.layers(classifier, ["second"]), summary.empty(classifier).arrays())
    with pytest.raises(XvError, match="images of another size"):
        summary.of_batch(classifier, torch.rand(2, 3, 16, 16), torch.arange(2), summary.empty(classifier))


UNITS = {
    "vgg16": (15, 12_416),
    "resnet50": (49, 22_720),
    "alexnet": (7, 9_344),
    "resnet18": (17, 3_904),
    "squeezenet1_0": (26, 3_976),
    "densenet121": (121, 41_824),
    "mobilenet_v2": (35, 15_552),
    "googlenet": (57, 7_280),
}


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(pytest.param(name, marks=pytest.mark.slow) for name in UNITS if name != "resnet18"),
    ],
)
def test_all_layers_are_all_rectifiers(name):
    layers = TopActivations().layers(load(f"{name}@random"))
    assert (len(layers), sum(layer.n_units for layer in layers)) == UNITS[name]


@pytest.mark.parametrize(
    ("network", "axis"),
    [
        ("convnext_tiny@random?classes=2&input=64", 3),
        pytest.param("vit_b_32@random?classes=2", 2, marks=pytest.mark.slow),
    ],
)
def test_units_of_networks_with_channels_last_are_the_channels(network, axis):
    layers = TopActivations().layers(load(network))
    assert {layer.axis for layer in layers} == {axis}


def test_the_network_is_left_as_it_was(classifier, images):
    scan(classifier, images, [[0, 1], [2]])
    assert not any(module._forward_hooks for module in classifier.network.modules())


def test_rows_are_those_of_the_tables(classifier, images):
    tops = scan(classifier, images, [[0, 1], [2]])
    keys = {"run_id", "model"}
    assert set(tops.units(["a"] * 3).columns) == set(SCHEMAS["units"].names) - keys
    pictures = {"image_class_id", "crop", "projection", "scale", "error"}
    assert set(tops.top(IDS).columns) == set(SCHEMAS["unit_top"].names) - keys - pictures


@pytest.mark.gpu
def test_a_gpu_finds_the_same_places(classifier, images):
    moved = classifier.to("cuda")
    with full_precision():
        found = scan(moved, images.cuda(), batches_of(range(N_IMAGES), 4)).top(IDS)
    expected = literal(classifier, images, KEPT)
    np.testing.assert_allclose(found["activation"], expected["activation"], rtol=1e-3)


class Merging(nn.Module):
    """Maps with channels last whose places are merged, as in Swin; and maps of which nobody can tell the channels."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.first, self.norm, self.reduction = nn.Conv2d(3, 6, 3, padding=1), nn.LayerNorm(24), nn.Linear(24, 5)
        self.relu, self.turned, self.mixed, self.told = nn.ReLU(), nn.Identity(), nn.Identity(), nn.Identity()
        self.last, self.head = nn.Conv2d(5, 4, 1), nn.Linear(4, n_classes)

    def forward(self, x):
        x = self.first(x).permute(0, 2, 3, 1)
        x = torch.cat([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)
        x = self.relu(self.reduction(self.norm(x)))
        x = self.turned(x.permute(0, 3, 1, 2))
        x = self.mixed(torch.einsum("bchw,hk->bckw", x, torch.ones(6, 6)))
        x = self.told(torch.einsum("bchw,wk->bchk", x, torch.ones(6, 6)))
        return self.head(self.last(x).mean((2, 3)))


@pytest.mark.parametrize(
    ("name", "n_units", "size"),
    [
        ("first", 6, (12, 12)),
        ("norm", 24, (6, 6)),
        ("reduction", 5, (6, 6)),
        ("turned", 5, (6, 6)),
        ("told", 5, (6, 6)),
        ("last", 4, (6, 6)),
    ],
)
def test_units_of_a_named_layer_are_its_channels_wherever_they_stand(images, name, n_units, size):
    torch.manual_seed(8)
    classifier = classifier_of(Merging())
    summary = TopActivations(kept=4)
    (layer,) = summary.layers(classifier, [name])
    assert (layer.n_units, layer.size) == (n_units, size)
    kept = []
    handle = classifier.network.get_submodule(name).register_forward_hook(lambda *call: kept.append(call[2]))
    numbers = torch.arange(5)
    tops = summary.of_batch(classifier, images[:5], numbers, summary.empty(classifier, [name]))
    handle.remove()
    is_last = name in ("norm", "reduction")
    maxima = kept[-1].detach().amax((1, 2) if is_last else (2, 3))
    expected = maxima.T.sort(1, descending=True).values[:, :4]
    torch.testing.assert_close(tops.values, expected)


def test_a_named_layer_whose_channels_cannot_be_told_is_refused():
    with pytest.raises(XvError, match="layer mixed returns 5 × 6 × 6 for an image: it cannot be told"):
        TopActivations().layers(classifier_of(Merging()), ["mixed"])


class Tables(nn.Module):
    """A network with a layer of maps, and non-linearities that are no layers: tables, windows, tokens before images."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.first, self.relu, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Linear(6, n_classes)
        self.places = nn.Parameter(torch.randn(1, 4, 6))
        for name in ("table", "spread", "blank", "windows", "tokens_first", "merged", "many_axes"):
            self.add_module(name, nn.ReLU())

    def forward(self, x):
        x = self.relu(self.first(x))
        n = len(x)
        table = self.table(self.places)
        spread = self.spread(self.places.expand(n, -1, -1) - 1)
        blank = self.blank(torch.zeros_like(x) + 0.5)
        windows = x.reshape(n, 6, 2, 6, 2, 6).permute(0, 2, 4, 3, 5, 1)
        many = self.many_axes(windows)
        windows = self.windows(windows.reshape(n * 4, 36, 6)).reshape(n, 4, 36, 6)
        tokens = self.tokens_first(x.flatten(2).permute(2, 0, 1)).permute(1, 0, 2)
        merged = self.merged(x.reshape(1, n * 6, 12, 12)).reshape(n, 6, -1).transpose(1, 2)
        parts = (
            tokens.mean(1),
            merged.mean(1),
            (windows.mean(2) + table + spread).mean(1),
            blank.mean((2, 3)),
            many.mean((1, 2, 3, 4)),
        )
        return self.head(sum(parts))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_only_what_follows_the_image_and_is_laid_out_by_images_is_a_layer(images, n):
    torch.manual_seed(3)
    classifier, summary = classifier_of(Tables()), TopActivations(kept=4)
    before = summary.empty(classifier)
    assert [layer.name for layer in before.layers] == ["relu"]
    tops = summary.of_batch(classifier, images[:n], torch.arange(n), before)
    expected = classifier.network.relu(classifier.network.first((images[:n] - 0.5) / 0.5)).amax((2, 3))
    torch.testing.assert_close(tops.values[:, : min(n, 4)], expected.T.sort(1, descending=True).values[:, :4])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("table", "returns 1 × 4 × 6 for one image and 1 × 4 × 6 for two: its first axis must count images"),
        ("spread", "returns the same for any two images: it does not follow the image"),
        ("blank", "returns the same for any two images: it does not follow the image"),
        ("windows", "returns 4 × 36 × 6 for one image and 8 × 36 × 6 for two"),
        ("tokens_first", "returns 144 × 1 × 6 for one image and 144 × 2 × 6 for two"),
        ("merged", "returns 1 × 6 × 12 × 12 for one image and 1 × 12 × 12 × 12 for two"),
        ("many_axes", "returns 2 × 2 × 6 × 6 × 6 for an image: expected units and at most two axes of places"),
    ],
)
def test_a_named_module_that_is_no_layer_of_units_is_refused_with_the_reason(name, reason):
    with pytest.raises(XvError, match=f"layer {name} {reason}"):
        TopActivations().layers(classifier_of(Tables()), [name])


def test_a_layer_that_is_dead_for_every_image_is_a_layer(classifier, images):
    torch.nn.init.constant_(classifier.network.second.bias, -1e3)
    tops = scan(classifier, images, [[0, 1]])
    assert [layer.name for layer in tops.layers] == ["relu:1", "relu:2", "hidden"]
    assert tops.is_dead[6:13].all()


def test_what_was_left_out_is_said_in_one_line(caplog):
    TopActivations().layers(classifier_of(Tables()))
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("left out of the layers of units: table returns 1 × 4 × 6 for one image")
    assert message.endswith("(and 6 more)")


class Signals(nn.Module):
    """Units in the middle axis, as in networks of one-dimensional convolutions; and maps of which nobody can tell."""

    def __init__(self, n_classes=3):
        super().__init__()
        self.first, self.along, self.head = nn.Conv2d(3, 6, 3), nn.Conv1d(6, 5, 3), nn.Linear(5, n_classes)
        self.relu, self.mixed = nn.ReLU(), nn.ReLU()

    def forward(self, x):
        x = self.first(x)
        x = self.mixed(torch.einsum("bchw,hk->bckw", x, torch.ones(10, 10)))
        return self.head(self.relu(self.along(x.flatten(2))).mean(2))


def test_units_of_all_layers_are_channels_or_left_out(images):
    classifier, summary = classifier_of(Signals()), TopActivations(kept=3)
    before = summary.empty(classifier)
    assert [(layer.name, layer.axis, layer.n_units, layer.size) for layer in before.layers] == [("relu", 1, 5, (98, 1))]
    tops, kept = before, []
    with classifier.network.relu.register_forward_hook(lambda *call: kept.append(call[2])):
        tops = summary.of_batch(classifier, images[:3], torch.arange(3), before)
    torch.testing.assert_close(tops.values, kept[0].detach().amax(2).T.sort(1, descending=True).values)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["swin_v2_t@random?input=96", "timm/tnt_s_patch16_224@random"])
def test_networks_with_tables_and_inner_tokens_rank_their_other_layers(name):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    classifier, summary = load(name), TopActivations(kept=2)
    images = torch.rand(2, 3, *classifier.preprocessing.input_px)
    tops = summary.of_batch(classifier, images, torch.arange(2), summary.empty(classifier))
    assert len(tops.layers) == 12
    assert all(".mlp." in layer.name for layer in tops.layers)
    assert tops.values.isfinite().all()


@pytest.mark.parametrize("is_broken", [False, True])
def test_rankings_do_not_depend_on_the_order_of_colours_in_memory(classifier, images, is_broken):
    if is_broken:
        images[3, 0, 2, 2] = torch.nan
    top, numbers = TopActivations(kept=KEPT), torch.arange(N_IMAGES)
    usual, side_by_side = (
        top.of_batch(classifier, pictures, numbers, top.empty(classifier))
        for pictures in (images, images.contiguous(memory_format=torch.channels_last))
    )
    for name, values in usual.arrays().items():
        np.testing.assert_array_equal(values, side_by_side.arrays()[name], err_msg=name)
    assert (usual.n_invalid > 0).any() == is_broken


@pytest.mark.parametrize("first", [1, KEPT - 1, KEPT, KEPT + 1, N_IMAGES])
def test_a_first_batch_of_any_size_fills_the_rankings(classifier, images, first):
    top, numbers = TopActivations(kept=KEPT), torch.arange(N_IMAGES)
    found = top.of_batch(classifier, images[:first], numbers[:first], top.empty(classifier))
    assert found.values.shape == found.images.shape == found.places.shape == (len(found.values), KEPT)
    assert (found.images[:, min(first, KEPT) :] == -1).all()
    if first < N_IMAGES:
        found = top.of_batch(classifier, images[first:], numbers[first:], found)
    together = top.of_batch(classifier, images, numbers, top.empty(classifier))
    for name, values in together.arrays().items():
        np.testing.assert_array_equal(values, found.arrays()[name], err_msg=name)
