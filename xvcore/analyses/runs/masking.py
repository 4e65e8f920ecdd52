"""Masking: what a network loses when the patches go that an attribution ranks first."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
import torch.nn.functional as F

from xvcore.analyses.analysis import Analysis, Figure, Results, analyses, image_by_image
from xvcore.analyses.questions.attributions import Gradient, IntegratedGradients
from xvcore.analyses.questions.masking import (
    RANDOM,
    Attribution,
    PatchRemoval,
    removal_curves,
    removal_figure,
    window_map,
)
from xvcore.analyses.questions.scores import Sample
from xvcore.errors import ParameterError
from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.models import Classifier, load, outputs_for
from xvcore.parameters import parameter
from xvcore.report.findings import Finding, mean
from xvcore.report.wording import plural
from xvcore.runs.run import Run
from xvcore.runs.settings import ClassSettings
from xvcore.types import Images, Maps, Targets

Ranking = Literal["gradient", "integrated_gradients", "evidence"]


@dataclass(frozen=True)
class MaskingOfClasses(PatchRemoval, ClassSettings):
    """Removal of the patches that attributions rank first, in this network or in another (Brendel & Bethge 2019)."""

    method: ClassVar[str] = "masking"
    version: ClassVar[int] = 1

    rankings: tuple[Ranking, ...] = parameter(
        ("gradient", "integrated_gradients"),
        "What ranks the patches: gradient, integrated_gradients, evidence (networks that end in a mean only)",
    )
    ranked_by: tuple[str, ...] = parameter(
        (), "Further networks whose maps rank the patches too, as --model names them; the input size must be the same"
    )
    integrated_gradients: IntegratedGradients = parameter(IntegratedGradients(), "Integrated gradients")

    @property
    def networks(self) -> tuple[str, ...]:  # type: ignore[override]
        """Further networks that decide the numbers."""
        return self.ranked_by

    def attribution(self, name: Ranking) -> Attribution:
        """Return what makes the maps of a ranking."""
        known: dict[Ranking, Attribution] = {
            "gradient": Gradient(),
            "integrated_gradients": self.integrated_gradients,
            "evidence": evidence_map,
        }
        return known[name]


def evidence_map(classifier: Classifier, images: Images, targets: Targets) -> Maps:
    """Return the evidence of the target at every pixel: the mean over the patches that cover it, where they are local.

    Elsewhere the positions of the last maps are spread over the image.
    """
    found = BagNetEvidence()(classifier, images.to(classifier.device), targets.to(classifier.device)[:, None])
    values = found.values[:, 0].cpu()
    if found.is_local and found.patches and not found.patches.padding_px:
        patches = found.patches
        return window_map(values, patch_px=patches.patch_px, stride_px=patches.stride_px, size=found.input_px)
    return F.interpolate(values[:, None], size=found.input_px, mode="bilinear", align_corners=False)


def rows(run: Run[MaskingOfClasses], sample: Sample, class_id: str) -> pd.DataFrame:
    """Return the scores of some images after every removal, by every ranking."""
    settings = run.settings
    rankings: dict[str, Any] = {name: settings.attribution(name) for name in settings.rankings}
    for spec in settings.ranked_by:
        rankings |= _ranked_elsewhere(run, spec, sample, class_id)
    return settings([run.classifier], sample, rankings, batch_size=run.spec.batch_size)


def figures(results: Results) -> Iterator[Figure]:
    """Draw the probability left by the patches removed, a chart for each network, a curve for each ranking."""
    columns = ["model", "ranking", "image_id", "n_removed", "area_removed", "logit", "prob"]
    curves = removal_curves(results.read("masking", columns))
    for model in results.models:
        yield Figure(model, f"Removing what counts first: {model}", partial(removal_figure, curves, model))


def findings(results: Results) -> Iterator[Finding]:
    """Say of each network and ranking whether what it puts first counts for more than patches at random."""
    columns = ["model", "class_id", "image_id", "ranking", "n_removed", "prob"]
    table = results.read("masking", columns)
    left = table[table["n_removed"] > 0].groupby(columns[:4], sort=False)["prob"].mean().unstack("ranking")
    for model, rows in left.groupby(level="model", sort=False):
        for ranking in rows.columns.drop(RANDOM, errors="ignore") if RANDOM in rows else ():
            found = mean((rows[RANDOM] - rows[ranking]).to_numpy(float))
            told = Finding.of(model, f"probability lost by {ranking} beyond random patches", found, 0.0)
            how = "is not seen to find patches that count for more than random ones"
            if told.holds:
                how = f"finds patches that count for {'more' if found.value > 0 else 'less'} than random ones"
            said = f"{str(ranking).replace('_', ' ')} {how} in {model}: {found.words} of probability"
            sentence = f"{said[0].upper()}{said[1:]}, mean over the steps ({plural(found.n, 'image')})."
            yield told.saying(sentence)


def _ranked_elsewhere(
    run: Run[MaskingOfClasses], spec: str, sample: Sample, class_id: str
) -> Mapping[str, torch.Tensor]:
    other = _opened(spec, str(run.classifier.device))
    if other.preprocessing.input_px != run.size:
        raise ParameterError(
            f"ranked_by {other.name}: its input is {other.preprocessing.input_px} px, that of {run.classifier.name} "
            f"{run.size}; expected the same, e.g. {spec}?input={run.size[0]}"
        )
    target = outputs_for(other, [run.class_info(class_id)], dict(run.spec.class_map))[class_id]
    maps = {}
    for name in run.settings.rankings:
        attribution = run.settings.attribution(name)
        parts = [
            attribution(other, images, torch.full((len(images),), target, device=images.device)).detach().cpu()
            for images in sample.images.split(run.spec.batch_size)
        ]
        maps[f"{name} of {other.name}"] = torch.cat(parts)
    return maps


@lru_cache(maxsize=4)
def _opened(spec: str, device: str) -> Classifier:
    return load(spec, device=device)


analyses.register("masking")(Analysis(MaskingOfClasses, (image_by_image("masking", rows),), figures, findings=findings))
