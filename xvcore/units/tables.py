"""What the units of a network respond to: statistics, and the strongest activations with their projections."""

import pyarrow as pa

from xvcore.store.schema import (
    IMAGE,
    KEYS,
    MODEL,
    RUN,
    Column,
    Table,
    box,
    count,
    declare,
    flag,
    key,
    listed,
    picture,
    real,
    small,
    summary_table,
    text,
)

LAYER = key("layer", "the layer: the module whose output it is, with :call where it is called several times")
UNIT = count("unit", "number of the unit in its layer, from 0")

declare(
    Table(
        "units",
        "A unit of a network and how it responded to the images of the data set.",
        (
            RUN,
            MODEL,
            LAYER,
            UNIT,
            count("n_images", "images seen whose map was valid"),
            real("act_mean", "mean over the images of the maximum of the unit's map", nullable=True),
            real("act_max", "maximum over the images", nullable=True),
            flag("dead", "whether it was never positive"),
            key(
                "top_class_id",
                "most frequent class among its strongest images: those kept (top.kept); where no more images were seen "
                "than are kept, those shown (top.shown); missing where no more were seen than are shown, or it is dead",
                nullable=True,
            ),
            real("top_class_share", "share of that class among them; missing likewise", "0 … 1", nullable=True),
            real("class_entropy", "entropy of their classes; missing likewise", "bit", nullable=True),
        ),
        grain=("run_id", "layer", "unit"),
        shard="layer",
    ),
    Table(
        "unit_top",
        "One of the strongest activations of a unit: the image, the place, and what of it the unit responds to.",
        (
            RUN,
            MODEL,
            LAYER,
            UNIT,
            small("position", "place in the unit's ranking, from 1"),
            IMAGE,
            key("image_class_id", "class of the image", nullable=True),
            real("activation", "value of the unit"),
            small("map_y", "row of the place in the unit's map"),
            small("map_x", "column of the place in the unit's map"),
            *box("the receptive field, which may reach out of the image"),
            picture(
                "crop",
                "the image's pixels in the receptive field, at most picture_px a side; grey outside of the image",
                is_repeated=True,
            ),
            picture("projection", "the same of the projection: 127.5 is 0, 0 and 255 are -scale and scale and beyond"),
            real("scale", "value of the projection that is shown as white", nullable=True),
            text("error", "why there is no projection", nullable=True),
        ),
        grain=("run_id", "layer", "unit", "position"),
        shard="layer",
    ),
    Table(
        "unit_scans",
        "Rankings of the units of a layer over the images of one class; older versions kept it instead of unit_sums.",
        (
            *KEYS,
            LAYER,
            count("n_units", "units of the layer"),
            count("n_images", "images seen"),
            Column("last_image", pa.int64(), "highest image number seen, -1 for none"),
            listed("activations", pa.float32(), "unit by unit, strongest first; -inf where there are none"),
            listed("images", pa.int64(), "image numbers, likewise; -1 where there are none"),
            listed("places", pa.int32(), "places in the map, likewise, counted in raster order"),
            listed("sums", pa.float64(), "sum of each unit's maxima"),
            listed("n_invalid", pa.int64(), "images in which the unit's map was not a number"),
        ),
        grain=("run_id", "class_id", "layer"),
        is_published=False,
    ),
    summary_table(
        "unit_sums",
        "Rankings of all units over the images of some classes: lists go layer by layer, unit by unit.",
        (
            listed("layers", pa.string(), "names of the layers", nullable=True),
            listed("n_units", pa.int32(), "units of each", nullable=True),
            count("n_images", "images seen", nullable=True),
            Column("last_image", pa.int64(), "highest image number seen, -1 for none", nullable=True),
            listed("activations", pa.float32(), "strongest first; -inf where there are none", nullable=True),
            listed("images", pa.int64(), "image numbers, likewise; -1 where there are none", nullable=True),
            listed("places", pa.int32(), "places in the map, likewise, counted in raster order", nullable=True),
            listed("sums", pa.float64(), "sum of each unit's maxima", nullable=True),
            listed("n_invalid", pa.int64(), "images in which the unit's map was not a number", nullable=True),
        ),
    ),
)
