"""PartBirds as an image folder of any number of classes: the birds of several seeds, each seed its own classes."""

from pathlib import Path

from xvcore.data import open_dataset


def bird_folder(folder: Path, *, n_classes: int, n_images: int) -> str:
    """Draw the classes into folders named ``s0-b00`` … and return the dataset's address."""
    drawn = 0
    seed = 0
    while drawn < n_classes:
        birds = open_dataset(f"partbirds?classes=12&images={n_images}&seed={seed}")
        for info in birds.classes[: n_classes - drawn]:
            here = folder / f"s{seed}-{info.class_id[:3]}"
            here.mkdir(parents=True)
            for number, record in enumerate(birds.images(info.class_id)):
                (here / f"{number:03}.png").write_bytes(birds.read(record))
            drawn += 1
        seed += 1
    return f"imagefolder:{folder}"
