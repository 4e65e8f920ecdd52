"""Names by maps of parts: what the names of the annotation, and of people, are right by."""

import dataclasses

import cv2
import numpy as np
import pytest

from xvcore.data import open_dataset
from xvcore.data.bird import PARTS
from xvcore.errors import ParameterError
from xvcore.parameters import replaced
from xvcore.query import table
from xvcore.runs.originals import Originals
from xvcore.runs.predict import PREDICT
from xvcore.runs.run import RunSpec, announce, open_run
from xvcore.study.runs.build import build_study
from xvcore.study.runs.part_maps import PartMaps
from xvcore.study.runs.score import score_study
from xvcore.study.runs.simulate import simulate
from xvcore.study.runs.tag import tag_study
from xvcore.study.settings import Study
from xvcore.visual_summaries.settings import VisualSummaries

N_IMAGES = 8
CLASSES = [each.class_id for each in open_dataset("partbirds?classes=2&images=8").classes[:2]]
ON = ("crest", "tail", "wing", "bill")


def test_a_part_that_changes_changes_only_the_pixels_of_its_mask() -> None:
    dataset = open_dataset("partbirds?classes=2&images=3")
    for record in dataset.images(CLASSES[0]):
        bird, masks = dataset.bird(record), dataset.part_masks(record)
        assert set(masks) == set(PARTS)
        assert np.sum([*masks.values()], axis=0).max() == 1
        before = dataset.picture(record).astype(int)
        for place, part in enumerate(PARTS):
            other = dataclasses.replace(bird.plumage[place], dark=(255, 0, 255), light=(0, 255, 0))
            plumage = (*bird.plumage[:place], other, *bird.plumage[place + 1 :])
            repainted = dataclasses.replace(bird, plumage=plumage)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(type(dataset), "bird", lambda _self, _record, found=repainted: found)
                changed = (dataset.picture(record).astype(int) != before).any(axis=2)
            around = cv2.dilate(masks[part].astype(np.uint8), np.ones((5, 5))).astype(bool)
            assert not (changed & ~around).any()
            assert changed[masks[part]].mean() > 0.8  # but for pixels of the edge, which OpenCV rounds


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Summaries of two classes, each of the boxes of a part."""
    outputs = tuple((each, str(place)) for place, each in enumerate(CLASSES))
    spec = RunSpec(
        "partbirds?classes=2&images=8", "partbirds_narrow@random?classes=7",
        str(tmp_path_factory.mktemp("maps") / "store"), VisualSummaries(max_images=N_IMAGES), outputs, "cpu",
    )  # fmt: skip
    run = open_run(spec)
    announce(run, CLASSES)
    for class_id in CLASSES:
        PREDICT.work(run, class_id, None)
        boxes = {(each.image_id, each.part): each for each in run.dataset.parts(class_id)}
        regions, clusters = [], []
        for cluster, part in enumerate(ON):
            for record in run.dataset.images(class_id)[:N_IMAGES]:
                each = boxes[record.image_id, part]
                regions.append(
                    {"region_id": len(regions), "image_id": record.image_id, "x": int(each.x), "y": int(each.y),
                     "w": max(2, int(each.w)), "h": max(2, int(each.h)), "cluster_id": cluster, "sim_exemplar": 1.0,
                     "is_exemplar": False, "kept": True}
                )  # fmt: skip
            clusters.append(
                {"cluster_id": cluster, "position": cluster + 1, "n_regions": N_IMAGES, "n_images": N_IMAGES,
                 "accepted": True}
            )  # fmt: skip
        run.store.write("regions", run.run_id, class_id, regions)
        run.store.write("clusters", run.run_id, class_id, clusters)
    return run.store


def test_maps_know_what_is_shown_and_the_annotation_and_people_are_right_by_them_the_more_the_less_they_err(
    store, tmp_path
) -> None:
    settings = replaced(Study(), {"tasks": "name", "trials": "40", "questions.found_share": "0.7"})
    run_id = build_study(store, tmp_path / "s.html", settings, picture_of=Originals()).study_id
    tag_study(store, "maps", picture_of=Originals())
    tags = table(store, "study_tags", run_id=run_id, filters={"tagger": "maps", "subject_group": "found"})
    labels = table(store, "study_subjects", run_id=run_id).set_index("subject_id")["label"]
    assert len(tags) == 2 * len(ON)
    for row in tags.to_dict("records"):
        assert row["tag"] == ON[int(labels[row["subject_id"]].split()[-1]) - 1]
        assert row["share"] > 0.9

    def right(tagger: str, other: str = "maps") -> float:
        rows = table(store, "tagger_agreement", run_id=run_id).set_index(["tagger", "other", "subjects"])
        return rows.loc[(tagger, other, "found"), "agreement"]

    tag_study(store, "parts")
    assert right("parts") == 1
    shares, kappas = [], []
    for error in (0.9, 0.6, 0.0):
        simulate(store, tmp_path / str(error), error=error, people=8)
        scores = score_study(store, [tmp_path / str(error)]).scores
        tag_study(store, "people")
        shares.append(right("people"))
        row = scores[(scores["subject_group"] == "found") & (scores["judged_model"] == "all")].iloc[0]
        kappas.append(row["kappa"])
    assert kappas[0] < kappas[1] < kappas[2]
    assert shares[0] < shares[2] == 1


def test_a_dataset_without_maps_is_refused(store) -> None:
    row = store.runs().to_dict("records")[0]
    with pytest.raises(ParameterError, match="no maps of parts"):
        PartMaps({**row, "env": row["env"].replace("partbirds?classes=2&images=8", "imagefolder:.?splits=no")}, ())
