"""The pictures of an export as files: as the networks saw them, without loss."""

from dataclasses import dataclass
from pathlib import Path

from xvcore.export.content import Content
from xvcore.keys import file_name
from xvcore.store.encode import picture


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that was written.

    Parameters
    ----------
    path : relative to the folder of the pictures
    width, height : in pixels; 0 where the picture could not be had
    is_there : whether there is such a file
    """

    path: str
    width: int
    height: int
    is_there: bool


def write_pictures(content: Content, folder: Path) -> tuple[dict[str, Picture], list[str]]:
    """Write every picture once, as PNG in a folder a class; return them by key, and those that cannot be had any more.

    A picture that cannot be had has the size of its run's input, and no file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found, lost = {}, []
    for image in content.seen:
        path = f"{file_name(image.class_id)}/{image.key}.png"
        pixels = content.pixels(image)
        if pixels is None:
            lost.append(f"{image.class_id}/{image.image_id}")
            side = content.runs[image.run_ids[0]]["input_px"]
            found[image.key] = Picture(path, int(side or 0), int(side or 0), is_there=False)
            continue
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(picture(pixels, "png")["bytes"])
        height, width = pixels.shape[:2]
        found[image.key] = Picture(path, width, height, is_there=True)
    return found, lost
