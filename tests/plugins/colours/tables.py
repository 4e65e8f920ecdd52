"""The colours of images."""

from xvcore.store.schema import IMAGE, KEYS, Table, count_in_record, declare, found, real

declare(
    Table(
        "colours",
        "The mean colour of an image.",
        (
            *KEYS,
            IMAGE,
            *(real(name, f"mean {name} of the image", "0 … 1") for name in ("red", "green", "blue")),
        ),
        grain=("run_id", "class_id", "image_id"),
    )
)

count_in_record(found("n_colours", "images with a colour"))
