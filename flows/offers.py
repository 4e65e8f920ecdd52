"""What forms offer: the data sets, networks and stores that a service knows of; whatever else is typed in.

Prefect's forms know no suggestions: ``examples`` are not shown. What they do show is a choice between two ways to fill
a field in (``anyOf``), so a field has both: a list to choose from, and a text. The list has no type. In Prefect 3.8 the
user interface of now goes by what is in the list, the one before by the first alternative that has the value's type:
were that the list, it would leave the text at every letter that is typed there.
"""

import copy
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from xvcore.errors import XvError, in_one_line
from xvcore.store import Store

logger = logging.getLogger("flows.offers")
LIST, TEXT = "known here", "another"
"""Names of the two ways to fill in a field."""
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MOST_FOLDERS, MOST_ENTRIES = 100, 50
"""Folders that are looked into, and entries of each: forms are made while somebody waits."""


@dataclass(frozen=True, slots=True)
class Offers:
    """Addresses by the field of :class:`flows.classes.ClassesRequest` that takes them, those of stores first.

    Parameters
    ----------
    dataset : of data sets: that runs were about, that need no path, folders of pictures
    models : of networks: that runs were about, heads of prototypes, architectures by name
    store : of stores
    """

    dataset: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    store: tuple[str, ...] = ()


def offers(folder: Path) -> Offers:
    """Return what is known in a folder where flow runs work; addresses are relative to it where they can be.

    Parameters
    ----------
    folder : of the flow runs; its folders are looked into, not theirs
    """
    from xvcore.models import catalogue

    folders = [each for each in _entries(folder) if each.is_dir() and not each.name.startswith(".")]
    stores = [each for each in folders if _is_store(each)]
    environments = [each for store in stores for each in _environments(store)]
    heads = [
        f"infodisent@{path.relative_to(folder)}" for store in stores for path in sorted(store.glob("heads/*/seed-*.pt"))
    ]
    pictures = [f"imagefolder:{each.name}" for each in folders if each not in stores and _has_pictures(each)]
    return Offers(
        dataset=_once([*(str(each.get("dataset_spec", "")) for each in environments), "partbirds", *pictures]),
        models=_once([*(str(each.get("model_spec", "")) for each in environments), *heads, *catalogue.names()]),
        store=_once(each.name for each in stores),
    )


def offered(schema: Mapping[str, Any], known: Offers) -> dict[str, Any]:
    """Return the schema of parameters with what is offered; done again, a new offer takes the place of the old one.

    Parameters
    ----------
    schema : of the parameters, as Prefect has it: JSON schema with ``definitions``
    known : what is offered; a field without is a text as it was
    """
    found = copy.deepcopy(dict(schema))
    for definition in found.get("definitions", {}).values():
        for name, addresses in asdict(known).items():
            if name in definition.get("properties", {}):
                field = definition["properties"][name]
                _offer(field["items"] if field.get("type") == "array" else field, addresses)
    return found


def _offer(field: dict[str, Any], addresses: Iterable[str]) -> None:
    """Turn a text into a choice between a list and a text; what is said of the text stays with it."""
    _, text = field.pop("anyOf", (None, None))
    text = text or {name: field.pop(name) for name in ("type", "minLength", "pattern") if name in field}
    listed = list(addresses)
    if listed:
        field["anyOf"] = [{"title": LIST, "enum": listed}, {"title": TEXT, **text}]
    else:
        field.update({name: value for name, value in text.items() if name != "title"})


def _entries(folder: Path) -> list[Path]:
    return sorted(islice(folder.iterdir(), MOST_FOLDERS)) if folder.is_dir() else []


def _is_store(folder: Path) -> bool:
    try:
        return Store(str(folder)).exists()
    except XvError as error:
        logger.warning("%s is not offered as a store: %s", folder, in_one_line(error))
        return False


def _environments(folder: Path) -> list[Mapping[str, Any]]:
    """Return what the runs of a store say of where they come from, the last first."""
    try:
        runs = Store(str(folder)).runs()
    except XvError as error:
        logger.warning("what %s knows is not offered: %s", folder, in_one_line(error))
        return []
    return [json.loads(each or "{}") for each in runs.sort_values("created_at", ascending=False)["env"]]


def _has_pictures(folder: Path) -> bool:
    """Return whether a folder has folders, of which the first has pictures or folders of pictures."""
    inner = next((each for each in _entries(folder) if each.is_dir()), None)
    if inner is None:
        return False
    found = [*islice(inner.iterdir(), MOST_ENTRIES)]
    deeper = next((each for each in sorted(found) if each.is_dir()), None)
    found += [*islice(deeper.iterdir(), MOST_ENTRIES)] if deeper else []
    return any(each.suffix.lower() in PICTURES for each in found)


def _once(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in addresses if each))
