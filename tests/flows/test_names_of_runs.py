"""Flow runs are named by what they do, and the parent's log says what was asked for."""

import logging

import pytest

from flows.analyse import AnalyseRequest, analyse
from flows.classes import words_of
from flows.commands import every
from flows.families.summarise import COMMAND
from xvcore.errors import StoreError
from xvcore.parameters import replaced
from xvcore.visual_summaries.settings import VisualSummaries

MODELS = ["squeezenet1_1@/weights/a.pt?input=225", "timm/resnet50"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"dataset": "imagefolder:/data/pictures/birds?split=val", "models": MODELS, "classes": ["robin", "jay"]},
            "squeezenet1_1 and timm/resnet50 · imagefolder birds · 2 classes",
        ),
        ({"models": ["a"]}, "a · partbirds · all classes"),
        ({"models": ["a"], "classes": ["robin"]}, "a · partbirds · robin"),
        ({"models": list("abcde")}, "a and b and c and 2 more · partbirds · all classes"),
    ],
)
def test_a_request_says_networks_data_and_classes_without_paths(fields, words):
    assert COMMAND.request(**fields).asked == words


def run_name(flow) -> str:
    """Return what a flow's runs are called, as Prefect has it."""
    return getattr(flow, "of_prefect", flow).flow_run_name


def test_every_parent_flow_is_named_by_what_it_does():
    for name, command in every().items():
        assert run_name(command.flow) == f"{name} · {{request.asked}}"
    assert run_name(analyse) == "{request.settings.analysis} · {request.asked}"


def test_only_parameters_that_are_not_the_usual_ones_are_told():
    assert words_of(VisualSummaries()) == "visual-summaries"
    changed = replaced(VisualSummaries(), {"max_images": "6", "mask.smooth_steps": "40"})
    assert words_of(changed) == "visual-summaries (max_images=6, mask.smooth_steps=40)"


def test_the_parents_log_says_what_was_asked_for(tmp_path, caplog):
    fields = {"dataset": "partbirds?classes=2&images=1", "models": ["partbirds_narrow@random?classes=3"]}
    classes = {"b00_zigzag-crest_ringed-wing_spotted-tail": "0"}
    settings = {"analysis": "accuracy", "ks": [1], "throughput": {"batch_size": 1, "n_batches": 1, "n_warm": 0}}
    request = AnalyseRequest(
        **fields, classes=list(classes), class_map=classes, settings=settings, store=str(tmp_path / "store")
    )
    with caplog.at_level(logging.INFO, logger="flows.classes"):
        analyse.fn(request)
    (line,) = [each.getMessage() for each in caplog.records if each.getMessage().startswith("asked for: ")]
    assert line.startswith("asked for: accuracy (")
    assert f"of {fields['models'][0]} on {fields['dataset']}, 1 classes, 1 of them mapped to outputs" in line


def test_the_flows_of_a_store_are_named_by_what_they_do_and_say_what_was_asked(tmp_path, caplog):
    from flows.report import ReportRequest, write_report
    from flows.study import StudyRequest, study

    assert run_name(write_report) == "report · {request.asked}"
    assert run_name(study) == "study · {request.asked}"
    assert ReportRequest(store="s").asked == "all runs of s"
    assert ReportRequest(store="s", runs=["a"]).asked == "a of s"
    assert ReportRequest(store="s", runs=["a", "b"]).asked == "2 runs of s"
    assert StudyRequest(store="s", steps=["build", "tag"]).asked == "build, tag · s"
    assert StudyRequest(store="s", steps=["tag"], study="study-1").asked == "tag · study-1 · s"
    store = str(tmp_path / "nothing")
    with caplog.at_level(logging.INFO, logger="flows"), pytest.raises(StoreError):
        write_report.fn(ReportRequest(store=store, out=str(tmp_path / "out")))
    with caplog.at_level(logging.INFO, logger="flows"), pytest.raises(StoreError):
        study.fn(StudyRequest(store=store, steps=["build"]))
    said = [each.getMessage() for each in caplog.records]
    assert f"asked for: the pages of all runs of {store}, into {tmp_path / 'out'}" in said
    assert f"asked for: build, of the store {store}" in said
