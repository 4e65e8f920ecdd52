"""How folders and files of the parts of a dataset are called: train, validation and test."""

import re

from xvcore.errors import DataError, unknown_name

OFFICIAL = ("train", "test", "all")
"""What can be asked of a dataset that comes with lists of its training and test images."""
WORDS = {
    **dict.fromkeys(("train", "training", "trainset", "trainingset"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "valset", "validset", "validationset", "dev"), "val"),
    **dict.fromkeys(("eval", "evaluation", "holdout"), "val"),
    **dict.fromkeys(("test", "testing", "testset", "testingset"), "test"),
    "trainval": "trainval",
}
"""What a split may be called, and which one is meant."""
FILLERS = frozenset(
    (
        *("data", "dataset", "split", "set", "sets", "image", "images", "img", "imgs", "picture", "pictures", "photo"),
        *("photos", "sample", "samples", "partial", "folder", "crop", "seg", "ilsvrc", "imagenet"),
    )
)
"""Words that stand beside that one and say nothing: ``seg_train``, ``train2017``, ``ILSVRC2012_img_val``."""


def split_of(name: str) -> str | None:
    """Return ``train``, ``val``, ``test`` or ``trainval`` for a name that says that and nothing else, in any case."""
    words = [word for word in re.findall(r"[^\W\d_]+", name.casefold()) if word not in FILLERS]
    return WORDS.get(words[0]) if len(words) == 1 else None


def split_in(path: str) -> str | None:
    """Return the split that a path below a dataset speaks of, among other words (``data/train-00000-of-00005``).

    The nearest folder or name that speaks of just one counts; None where none does.
    """
    for part in reversed(path.split("/")):
        found = {WORDS[word] for word in re.findall(r"[^\W\d_]+", part.casefold()) if word in WORDS}
        if len(found) == 1:
            return found.pop()
    return None


def check_official(kind: str, split: str) -> None:
    """Refuse, with a DataError, what is none of :data:`OFFICIAL`."""
    if split not in OFFICIAL:
        raise DataError(str(unknown_name(f"split of {kind}:", split, OFFICIAL)))
