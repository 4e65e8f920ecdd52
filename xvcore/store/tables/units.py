"""What the units of a network respond to: statistics, and the strongest activations with their projections."""

from xvcore.store.schema import (
    IMAGE,
    KEYS,
    Table,
    box,
    count,
    declare,
    flag,
    key,
    picture,
    real,
    small,
    text,
)

LAYER = key("layer", "the layer: the module whose output it is, with :call where it is called several times")
UNIT = count("unit", "number of the unit in its layer, from 0")

declare(
    Table(
        "units",
        "A unit of a network and how it responded to the images of the data set.",
        (
            *KEYS,
            LAYER,
            UNIT,
            count("n_images", "images seen whose map was valid"),
            real("act_mean", "mean over the images of the maximum of the unit's map", nullable=True),
            real("act_max", "maximum over the images", nullable=True),
            flag("dead", "whether it was never positive"),
            key("top_class_id", "most frequent class among its strongest images", nullable=True),
            real("top_class_share", "share of that class among them", "0 … 1", nullable=True),
            real("class_entropy", "entropy of their classes", "bit", nullable=True),
        ),
        grain=("run_id", "class_id", "layer", "unit"),
    ),
    Table(
        "unit_top",
        "One of the strongest activations of a unit: the image, the place, and what of it the unit responds to.",
        (
            *KEYS,
            LAYER,
            UNIT,
            small("position", "place in the unit's ranking, from 1"),
            IMAGE,
            real("activation", "value of the unit"),
            small("map_y", "row of the place in the unit's map"),
            small("map_x", "column of the place in the unit's map"),
            *box("the receptive field, which may reach out of the image"),
            picture("crop", "the image's pixels in the receptive field; grey outside of the image"),
            picture("projection", "the same pixels of the projection: 127.5 is 0, 0 and 255 are -scale and scale"),
            real("scale", "largest absolute value of the projection", nullable=True),
            text("error", "why there is no projection", nullable=True),
        ),
        grain=("run_id", "class_id", "layer", "unit", "position"),
    ),
)
