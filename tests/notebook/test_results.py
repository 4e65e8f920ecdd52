"""Laws of results that show themselves: self-contained, small, the same numbers, and their images beneath."""

import base64
import io
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from xvcore.errors import XvError
from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.evidence.method.top_patches import TopPatches
from xvcore.notebook.figure import Figure
from xvcore.prototypes.method.head import Head
from xvcore.prototypes.method.pooling import peaks
from xvcore.prototypes.method.strongest_patches import StrongestPatches
from xvcore.shown import Shown, views
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.units.method.top_activations import TopActivations
from xvcore.visual_summaries.method.coherence import Summary
from xvcore.visual_summaries.method.judged_masks import JudgedMasks
from xvcore.visual_summaries.method.rise import Rise
from xvcore.visual_summaries.method.sparse_mask import SparseMask

MOST_BYTES = 400_000
N = 4
PICTURE = re.compile(r'src="data:image/(?:png|jpeg);base64,([^"]+)"')


def ending_in_a_mean(network: nn.Sequential) -> nn.Sequential:
    return nn.Sequential(*network[:4], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))


@pytest.fixture(scope="module")
def kept() -> dict[str, Shown]:
    return {}


@pytest.fixture
def results(kept, make_classifier, make_images) -> dict[str, Shown]:
    if not kept:
        kept.update(computed(make_classifier, make_images))
    return kept


def computed(make_classifier, make_images) -> dict[str, Shown]:
    torch.manual_seed(3)
    classifier, (images, targets) = make_classifier(), make_images(N)
    mean = make_classifier(wrap=ending_in_a_mean)
    evidence = BagNetEvidence()(mean, images, targets)
    patches = TopPatches(n_kept=2).of_batch(evidence.values, torch.arange(N), targets[:, None] == 0)
    ranking = TopActivations(kept=3)
    tops = ranking.of_batch(classifier, images, torch.arange(N), ranking.empty(classifier))
    head, maps = Head(6, 3), torch.randn(N, 9, 6)
    head.raw.data.uniform_()
    return {
        "sparse": SparseMask(smooth_steps=4, crisp_steps=3)(classifier, images, targets),
        "rise": Rise(n_masks=20)(classifier, images, targets),
        "evidence": evidence,
        "patches": patches,
        "projections": Deconvnet.gradient()(classifier, images, targets),
        "units": tops,
        "decision": head.decision(maps),
        "prototypes": StrongestPatches.of_batch(peaks(head.turned(maps)), torch.arange(N), 2),
        "summary": Summary(2, 5, (5, 7), (9.0, 8.0), 3, 0.5, 1.1, True, (True, False), None),
    }


def test_every_result_that_shows_itself_is_tried_here(results) -> None:
    tried = {f"{each.__module__}.{each.__qualname__}" for result in results.values() for each in type(result).__mro__}
    assert set(views) <= tried


def test_html_is_self_contained_and_small(results, make_images) -> None:
    images, _ = make_images(N)
    for name, result in results.items():
        for html in (result._repr_html_(), result.figure(images)._repr_html_()):
            assert len(html) < MOST_BYTES, name
            assert not re.search(r"https?://|url\(|<script|<link|@import", html), name
            for data in PICTURE.findall(html):
                Image.open(io.BytesIO(base64.b64decode(data))).verify()
            assert html.count("<img") == len(PICTURE.findall(html)), name


def test_results_know_what_they_are_of_and_can_be_drawn_over_other_images(results, make_images) -> None:
    images, _ = make_images(N)
    for name in ("sparse", "rise", "evidence"):
        own, other = results[name].figure(), results[name].figure(1 - images)
        assert results[name].images is not None
        assert not np.array_equal(own.panels[0].pixels, other.panels[0].pixels), name
        assert own.html == results[name].figure(images).html
    pixels = results["sparse"].figure().panels[0].pixels
    assert np.array_equal(pixels, (images[0].permute(1, 2, 0) * 255).round().byte().numpy())


def test_what_the_crisp_mask_removes_is_clear_and_the_words_say_how_much(results) -> None:
    masks = results["sparse"]
    for index in range(N):
        panel = results["sparse"].figure().panels[2 * index]
        veil = np.array(Image.open(io.BytesIO(panel.over[0].data)).convert("RGBA"))[..., 3]
        assert np.array_equal(veil == 0, masks.removed[index, 0].numpy())
        assert f"{100 * (veil == 0).mean():.0f}" in panel.caption


def test_the_red_and_blue_of_evidence_are_its_sign_and_strength(results) -> None:
    evidence = results["evidence"]
    figure = evidence.figure()
    assert figure.limit == pytest.approx(float(evidence.values.abs().max()))
    for index, panel in enumerate(figure.panels):
        values = evidence.values[index, 0].numpy()
        colours = np.array(Image.open(io.BytesIO(panel.over[0].data)).convert("RGBA")).astype(int)
        assert np.allclose(colours[..., 3] / 255, np.abs(values) / figure.limit, atol=0.01)
        seen = colours[..., 3] > 5
        assert np.array_equal((colours[..., 0] > colours[..., 2])[seen], (values > 0)[seen])


def test_the_bars_of_a_decision_sum_to_its_logit(results) -> None:
    decision = results["decision"]
    for part, logits in zip(decision.figure(prototypes=2).parts, decision.logits, strict=True):
        assert sum(value for _, value in part.bars.rows) == pytest.approx(float(logits.detach().max()), abs=1e-5)
        assert len(part.bars.rows) <= 4


def test_a_member_of_a_summary_is_outlined_by_its_box(results, make_images) -> None:
    images, _ = make_images(2)
    panels = results["summary"].figure(images, boxes=[(1, 2, 3, 4), (5, 6, 7, 8)]).panels
    assert [panel.outlines[0].corners[0] for panel in panels] == [(1, 2), (5, 6)]
    assert [panel.outlines[0].corners[2] for panel in panels] == [(4, 6), (12, 14)]
    assert "outlier" not in panels[0].caption
    assert "outlier" in panels[1].caption


def test_units_are_shown_where_they_respond(results, make_images) -> None:
    images, _ = make_images(N)
    figure = results["units"].figure(images, first=2, kept=2)
    assert len(figure.panels) == 4
    assert {panel.title for panel in figure.panels} == {f"unit {row[0]}" for row in figure.rows}
    with pytest.raises(XvError, match="known: 1, 3"):
        results["units"].figure(layer="nowhere")


def test_units_of_a_run_are_shown_whose_images_are_numbered_by_class(results) -> None:
    tops, far = results["units"], 900 * 2**24  # a list of all images up to there would not fit into memory
    moved = replace(tops, images=torch.where(tops.images < 0, tops.images, tops.images + far))
    moved = replace(moved, last_image=tops.last_image + far)
    near = [
        (unit, re.sub(r"image (\d+)", lambda found: f"image {int(found[1]) + far}", said))
        for unit, said in tops.figure(first=2, kept=2).rows
    ]
    assert list(moved.figure(first=2, kept=2).rows) == near


def test_no_more_images_are_shown_than_asked_for(results) -> None:
    assert len(results["evidence"].figure(first=2).panels) == 2
    assert "2 images of 4" in results["evidence"].figure(first=2).title


def test_images_that_do_not_fit_are_refused_by_their_shape(results, make_images) -> None:
    images, _ = make_images(N)
    with pytest.raises(XvError, match="4 × 3 × 40 × 48 are needed"):
        results["evidence"].figure(images[:, :, :20])
    with pytest.raises(XvError, match="4 × 3 × 40 × 48 are needed"):
        results["sparse"].figure(images[:2])


def test_masks_without_their_images_are_drawn_on_grey(results) -> None:
    masks = results["sparse"]
    values = {name: getattr(masks, name) for name in masks.__dataclass_fields__}
    assert np.unique(JudgedMasks(**{**values, "images": None}).figure().panels[0].pixels).tolist() == [128]


def test_plot_draws_each_picture_and_bar_once(results) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed")
    pyplot.switch_backend("agg")
    axes = results["sparse"].plot(first=2)
    assert len(axes) == 4
    assert axes[0].images[0].get_array().shape == (40, 48, 3)
    (veil,) = axes[0].images[1:]
    assert np.array_equal(veil.get_array()[..., 3] == 0, results["sparse"].removed[0, 0].numpy())
    assert len(results["decision"].plot()) == N
    assert len(results["evidence"].plot()) == N
    with pytest.raises(XvError, match="display the result"):
        results["prototypes"].plot()
    axes[0].figure.canvas.draw()
    pyplot.close("all")


def test_without_matplotlib_the_error_names_the_extra(results, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(XvError, match=r"pip install 'xv\[notebook\]'"):
        results["evidence"].plot()


def test_markup_in_words_stays_text() -> None:
    html = Figure("<b>&", "<script>", header=("<i>",), rows=(("</td><img src=x>",),)).html
    assert "<script>" not in html
    assert "<img" not in html
    assert "<b>&" not in html


def test_a_method_needs_nothing_of_what_draws() -> None:
    script = """
import sys
from xvcore.visual_summaries.method.sparse_mask import SparseMask
assert not {"matplotlib", "jinja2", "xvcore.report", "xvcore.notebook"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
