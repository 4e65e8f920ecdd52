"""The pages of a class for one network: its prototypes by what they add, and a page an image."""

from typing import Any, ClassVar

from xvcore.prototypes.pages.class_data import ClassPrototypes, DecidedImage
from xvcore.prototypes.pages.findings import of_class
from xvcore.prototypes.settings import Prototypes
from xvcore.report.class_pages import ClassWriter, Drawn, Face
from xvcore.report.findings import Told

N_ROWS, N_THUMBS = 24, 6
"""Prototypes on the page of a class, and on the first page."""


class PrototypeWriter(ClassWriter[ClassPrototypes, Drawn]):
    """Writes the pages of one class."""

    method: ClassVar[str] = Prototypes.method

    def draw(self) -> Drawn:
        """Write the originals; crops belong to the pages of prototypes."""
        faces = {image.image_id: Face(self.page_of(image), self.original(image)) for image in self.data.images}
        return Drawn(faces, [])

    def on_class_page(self, drawn: Drawn) -> dict[str, Any]:
        """Return the prototypes that add most to the class."""
        return {"rows": self.data.weights[:N_ROWS]}

    def on_image_page(self, image: DecidedImage, drawn: Drawn) -> dict[str, Any]:
        """Return the decisions."""
        return {"decisions": image.decisions}

    def findings(self) -> list[Told]:
        """Return what the strongest prototype is worth, and whose patches and which parts prototypes have."""
        return of_class(self.data, self.topic.class_name)

    def card(self, drawn: Drawn) -> dict[str, Any]:
        """Return the first prototypes with a patch each, and how many a decision takes."""
        shown = self.data.shown
        best = [int(row["prototype"]) for row in self.data.weights if int(row["prototype"]) in shown][:N_THUMBS]
        patches = [(shown[number].page, shown[number].first, number) for number in best if shown[number].first]
        return {
            "has_findings": bool(patches),
            "patches": patches,
            "prototypes": best,
            "active": self.data.active,
            "n_tested": len(self.data.tested),
            "falls": [[float(row["fall"]), float(row["random_fall"])] for row in self.data.removals],
            "needed": {
                image.image_id: int(taken.row["n_needed"])
                for image in self.data.images
                for taken in image.decisions
                if taken.row["target_kind"] == "label"
            },
            "n_images": len(self.data.images),
            "n_errors": len(self.data.unreadable),
        }
