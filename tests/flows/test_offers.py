"""Laws of what forms offer: known addresses in a list, any other as a text, and nothing else about a form changes."""

import copy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError

from flows.families.units import flow as units
from flows.offers import LIST, TEXT, Offers, offered, offers
from flows.orchestration import of_prefect
from xvcore.runs.run import RunSpec, announce, open_run
from xvcore.units.settings import TopUnits

KNOWN = Offers(("partbirds", "imagefolder:birds"), ("alexnet",), ("xv-store",))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return parameter_schema(of_prefect(units)).model_dump_for_openapi()


def request_of(schema: dict[str, Any]) -> dict[str, Any]:
    return dict(schema["definitions"]["UnitsRequest"]["properties"])


def test_a_folder_offers_its_stores_what_their_runs_were_about_and_its_pictures(tmp_path: Path) -> None:
    for name in ("wren", "jay"):
        (tmp_path / "birds" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "birds" / name / "1.png")
    (tmp_path / "texts" / "inner").mkdir(parents=True)
    dataset, model = "partbirds?classes=2&images=3", "partbirds_narrow@random?classes=7"
    run = open_run(RunSpec(dataset, model, str(tmp_path / "results"), TopUnits()))
    announce(run, [run.dataset.classes[0].class_id])
    head = tmp_path / "results" / "heads" / "RUN" / "seed-0.pt"
    head.parent.mkdir(parents=True)
    head.touch()
    found = offers(tmp_path)
    assert found.dataset == (dataset, "partbirds", "imagefolder:birds")
    assert found.models[:2] == (model, "infodisent@results/heads/RUN/seed-0.pt")
    assert {"partbirds_wide", "squeezenet1_1"} <= set(found.models)
    assert found.store == ("results",)


def test_a_folder_that_is_not_there_offers_what_needs_no_path(tmp_path: Path) -> None:
    found = offers(tmp_path / "nowhere")
    assert (found.dataset, found.store) == (("partbirds",), ())
    assert "partbirds_wide" in found.models


def test_a_field_has_a_list_without_a_type_and_the_text_that_it_was(schema: dict[str, Any]) -> None:
    """The list has no type: see :mod:`flows.offers`."""
    before, after = request_of(schema), request_of(offered(schema, KNOWN))
    text = {"title": TEXT, "type": "string", "minLength": 1}
    assert after["dataset"]["anyOf"] == [{"title": LIST, "enum": list(KNOWN.dataset)}, text]
    assert after["models"]["items"]["anyOf"] == [
        {"title": LIST, "enum": ["alexnet"]},
        {"title": TEXT, "type": "string"},
    ]
    assert after["models"]["minItems"] == 1
    kept = {name: value for name, value in before["dataset"].items() if name not in ("type", "minLength")}
    assert kept.items() <= after["dataset"].items()
    assert {name for name in after if after[name] != before[name]} == {"dataset", "models", "store"}


def test_what_is_not_offered_can_be_typed_and_an_empty_text_is_refused(schema: dict[str, Any]) -> None:
    form = offered(schema, KNOWN)
    request = {"dataset": "cub:/elsewhere", "models": ["alexnet", "timm/resnet50"]}
    assert validate({"request": request}, form) == []
    assert validate({"request": {**request, "dataset": "partbirds"}}, form) == []
    with pytest.raises(ValidationError, match="dataset"):
        validate({"request": {**request, "dataset": ""}}, form, raise_on_error=True)


def test_a_new_offer_takes_the_place_of_the_old_one(schema: dict[str, Any]) -> None:
    untouched = copy.deepcopy(schema)
    other = Offers(("partbirds",), ("vgg16", "alexnet"), ("a",))
    assert offered(offered(schema, other), KNOWN) == offered(schema, KNOWN)
    assert offered(offered(schema, KNOWN), Offers()) == schema == untouched
