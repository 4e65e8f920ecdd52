"""What a data set says of itself: its classes and annotated parts; of no run, hence kept by the data set's name."""

from xvcore.store.schema import CLASS, DATASET, IMAGE, Table, count, declare, flag, key, real, text

declare(
    Table(
        "classes",
        "A class of a data set.",
        (
            DATASET,
            CLASS,
            count("class_idx", "place of the class in its data set, from 0"),
            key("class_name", "the class in words"),
            key("wnid", "WordNet id", nullable=True),
            text("synonyms", "other names, separated by commas", nullable=True),
        ),
        grain=("dataset", "class_id"),
        owner="dataset",
    ),
    Table(
        "parts",
        "A part of the object in an image, as annotated.",
        (
            DATASET,
            CLASS,
            IMAGE,
            key("part", "name of the part"),
            real("x", "left edge of the part; the point itself where w is 0", "px of the original image"),
            real("y", "top edge of the part; the point itself where h is 0", "px of the original image"),
            real("w", "width of the part; 0 for a point", "px of the original image"),
            real("h", "height of the part; 0 for a point", "px of the original image"),
            flag("visible", "whether it can be seen"),
            flag("decisive", "whether the class is told from others by it", nullable=True),
        ),
        grain=("dataset", "class_id", "image_id", "part"),
        owner="dataset",
    ),
)
