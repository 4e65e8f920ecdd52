"""Pictures for practice: discs, squares and triangles, so that nothing of what is studied is given away."""

import io
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from xvcore.study.method.question import Picture

Shape = Literal["disc", "square", "triangle"]
SHAPES: tuple[Shape, ...] = ("disc", "square", "triangle")
COLOURS = ((214, 69, 65), (37, 116, 169), (38, 130, 80), (180, 120, 20), (120, 80, 160))


def shape(kind: Shape, generator: np.random.Generator, side: int = 96) -> Picture:
    """Return a picture of one shape, its size, place and colour drawn at random; its only part is the shape."""
    image = Image.new("RGB", (side, side), tuple(int(each) for each in generator.integers(215, 246, 3)))
    radius = side * float(generator.uniform(0.2, 0.34))
    x, y = (float(each) for each in generator.uniform(radius, side - radius, 2))
    colour = COLOURS[int(generator.integers(len(COLOURS)))]
    pen = ImageDraw.Draw(image)
    if kind == "disc":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    elif kind == "square":
        pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=colour)
    else:
        pen.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill=colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return Picture(buffer.getvalue(), f"drawn {kind}", "practice", None, (kind,))
