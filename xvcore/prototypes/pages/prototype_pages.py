"""The pages of prototypes: of each the strongest patches to both sides, and the classes that use it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xvcore.errors import StoreError
from xvcore.keys import digest
from xvcore.prototypes.settings import Prototypes
from xvcore.query import table
from xvcore.report.chapters import Chapter, Entry, Network, Section, Topic
from xvcore.report.class_pages import Row
from xvcore.report.draft import Draft
from xvcore.report.names import image_names
from xvcore.report.originals import Originals
from xvcore.report.renderer import digest_of_code
from xvcore.report.rows import class_rows
from xvcore.report.wording import records
from xvcore.runs.thumbnails import extension
from xvcore.store.encode import encoded

logger = logging.getLogger(__name__)
SIDES = ("positive", "negative")


@dataclass(frozen=True, slots=True)
class Shown:
    """A prototype that has a page.

    Parameters
    ----------
    page : of it
    crops : paths of the crops of its strongest patches, by side
    digest : of its patches
    """

    page: str
    crops: Mapping[str, Sequence[str]] = field(default_factory=dict)
    digest: str = ""

    @property
    def first(self) -> str | None:
        """The strongest patch, of the positive side where it has one."""
        return next((self.crops[side][0] for side in SIDES if self.crops.get(side)), None)


@dataclass(frozen=True, slots=True)
class Patch:
    """A patch: its row, its class in words, and where its image is shown."""

    row: Row
    class_name: str
    crop: str
    page: str | None
    picture: str | None


def write_prototypes(draft: Draft, chapter: Chapter, section: Section, network: Network) -> dict[int, Shown]:
    """Write the pages of a network's prototypes, those whose patches have crops, and return them by number."""
    try:
        rows = records(table(draft.store, "prototypes", run_id=network.run_id))
        weights = records(table(draft.store, "prototype_weights", run_id=network.run_id))
    except StoreError as error:
        logger.warning("%s: %s", network.title, error)
        return {}
    patches: dict[int, list[Row]] = {}
    for row in sorted(rows, key=lambda each: int(each["position"])):
        if encoded(row["crop"]) is not None:
            patches.setdefault(int(row["prototype"]), []).append(row)
    users: dict[int, list[Row]] = {}
    for row in sorted(weights, key=lambda each: -float(each["weight"])):
        users.setdefault(int(row["prototype"]), []).append(row)
    folder, images = f"{network.folder}/prototypes", _Images(draft, section, network)
    shown: dict[int, Shown] = {}
    files: set[str] = set()
    for number in sorted(patches):
        found = {side: [_patch(draft, chapter, folder, row, images) for row in patches[number] if row["side"] == side]
                 for side in SIDES}  # fmt: skip
        page = f"{folder}/{number}.html"
        facts = [[str(value) for name, value in row.items() if name != "crop"] for row in patches[number]]
        crops = {side: [each.crop for each in found[side]] for side in SIDES}
        shown[number] = Shown(page, crops, digest([facts, digest_of_code(__name__.rpartition(".")[0])], 16))
        text = draft.renderer.render(
            f"{Prototypes.method}/prototype.html",
            page,
            network=network,
            number=number,
            sides=[(side, found[side]) for side in SIDES],
            users=[(row, chapter.class_names.get(str(row["class_id"]), row["class_id"]), images.class_page(row))
                   for row in users.get(number, ())],
            size=images.size,
        )  # fmt: skip
        draft.site.write(page, text)
        files |= {path.removeprefix(f"{folder}/") for path in (page, *crops["positive"], *crops["negative"])}
    draft.site.seal(folder, {"inputs": digest(sorted(each.digest for each in shown.values()))}, files)
    return shown


class _Images:
    """Where the images of a network's classes are shown; a class's predictions are read when first asked for."""

    def __init__(self, draft: Draft, section: Section, network: Network) -> None:
        self._draft = draft
        self._entries: dict[str, tuple[Topic, Entry]] = {
            topic.class_id: (topic, entry)
            for topic in section.topics
            for entry in topic.entries
            if entry.network is network
        }
        self._found: dict[str, dict[str, tuple[str, str | None]]] = {}
        self.size = network.input_size

    def class_page(self, row: Row) -> str | None:
        """Return the page of a row's class."""
        found = self._entries.get(str(row["class_id"]))
        return found[1].page if found else None

    def of(self, class_id: str, image_id: str) -> tuple[str | None, str | None]:
        """Return page and picture of an image."""
        if class_id not in self._found:
            self._found[class_id] = self._read(class_id)
        return self._found[class_id].get(image_id, (None, None))

    def _read(self, class_id: str) -> dict[str, tuple[str, str | None]]:
        if class_id not in self._entries:
            return {}
        topic, entry = self._entries[class_id]
        try:
            rows = records(class_rows(self._draft.store, entry, "predictions"))
            for name in ("prototype_decisions", "prototype_contributions", "prototype_weights"):
                class_rows(self._draft.store, entry, name, ["target_idx"])  # if one is damaged images have no pages
        except StoreError:
            return {}
        names = image_names(str(row["image_id"]) for row in rows)
        originals = Originals(self._draft.site, self._draft.picture_of, topic, entry)
        return {
            str(row["image_id"]): (
                f"{entry.folder}/{names[str(row['image_id'])]}.html",
                originals.path(names[str(row["image_id"])], row),
            )
            for row in rows
            if not row["error"]
        }


def _patch(draft: Draft, chapter: Chapter, folder: str, row: Row, images: _Images) -> Patch:
    data: Any = encoded(row["crop"])
    path = f"{folder}/pictures/{row['prototype']}-{row['side']}-{row['position']}.{extension(data)}"
    draft.site.write(path, data)
    class_id = str(row["image_class_id"])
    page, picture = images.of(class_id, str(row["image_id"]))
    return Patch(row, chapter.class_names.get(class_id, class_id), path, page, picture)
