"""A class in the eyes of all networks that have evidence of it: mean maps, strongest patches, image by image."""

from xvcore.evidence.settings import PatchEvidence
from xvcore.report.comparison import Comparison
from xvcore.report.renderer import Renderer
from xvcore.store import Store

MOST_SHOWN = 24
"""Images, those first in which the networks differ in being right."""


def comparison_page(_store: Store, renderer: Renderer, comparison: Comparison, inputs: str) -> str:
    """Return the page of a class with the evidence of each network, image by image on its scale."""
    before, after = comparison.neighbours
    ids = sorted({image_id for side in comparison.sides for image_id in side.images})
    rows = [(image_id, [side.images.get(image_id) for side in comparison.sides]) for image_id in ids]
    rows.sort(key=lambda row: len({each["correct"] for each in row[1] if each}) < 2)
    return renderer.render(
        f"{PatchEvidence.method}/comparison.html",
        comparison.page,
        inputs=inputs,
        topic=comparison.topic,
        sides=comparison.sides,
        rows=rows[:MOST_SHOWN],
        n_images=len(rows),
        before=before,
        after=after,
    )
