"""Evidence of patches: maps of each image, the strongest patches of each class, mean maps."""

import pyarrow as pa

from xvcore.store.schema import (
    IMAGE,
    KEYS,
    Table,
    box,
    count,
    declare,
    flag,
    key,
    listed,
    maps,
    picture,
    real,
    small,
    summary_table,
    text,
)

LOGIT = "logit"
"""Unit of evidence: that of the scores before the softmax."""
INPUT_PX = "px of the model input"
ORIGIN = key("origin", "from images of the class or of other classes", choices=("class", "others"))
TARGET = count("target_idx", "output of the network that is explained")

declare(
    Table(
        "evidence",
        "What each patch of an image says for an output of the network.",
        (
            *KEYS,
            IMAGE,
            TARGET,
            key("target_kind", "why this output", nullable=True, choices=("label", "prediction", "chosen")),
            key(
                "resolution",
                "decision: the network's own patches, whose mean is the logit; full: patches centred at every pixel, "
                "whose mean is not",
                choices=("decision", "full"),
            ),
            maps(
                "evidence_map",
                "evidence of each patch, row by row; positive speaks for the output",
                LOGIT,
                nullable=True,
            ),
            small("map_h", "height of evidence_map", "patches", nullable=True),
            small("map_w", "width of evidence_map", "patches", nullable=True),
            small(
                "patch_px", "side of a patch; missing where an element sees all of the image", INPUT_PX, nullable=True
            ),
            small("stride_px", "distance of neighbouring patches; likewise", INPUT_PX, nullable=True),
            small("padding_px", "how far the first patch starts before the image; likewise", INPUT_PX, nullable=True),
            real("logit", "score of the output for the whole image", LOGIT, nullable=True),
            real("evidence_max", "evidence of the strongest patch", LOGIT, nullable=True),
            real("evidence_min", "evidence of the patch that speaks most against the output", LOGIT, nullable=True),
            real("positive_frac", "share of the patches that speak for the output", "0 … 1", nullable=True),
            text("error", "why there is no evidence", nullable=True),
        ),
        grain=("run_id", "class_id", "image_id", "target_idx", "resolution"),
    ),
    Table(
        "patches",
        "A patch that speaks loudest for a class, one of an image.",
        (
            *KEYS,
            TARGET,
            ORIGIN,
            small("position", "place by evidence, from 1"),
            IMAGE,
            key("image_class_id", "class of the image", nullable=True),
            *box("the patch; negative where it starts before the image"),
            flag("is_local", "whether the network saw nothing but the patch there; else the box is nominal"),
            real("evidence", "what the patch says for the class", LOGIT),
            real("logit", "score of the class for the whole image", LOGIT, nullable=True),
            picture("crop", "the patch's pixels"),
        ),
        grain=("run_id", "class_id", "target_idx", "origin", "position"),
    ),
    Table(
        "evidence_means",
        "Mean evidence map of a class over images of the class, or over images of others.",
        (
            *KEYS,
            TARGET,
            ORIGIN,
            count("n_images", "images in the mean"),
            maps("mean_map", "mean evidence at each position, row by row", LOGIT, nullable=True),
            small("map_h", "height of mean_map", "patches", nullable=True),
            small("map_w", "width of mean_map", "patches", nullable=True),
        ),
        grain=("run_id", "class_id", "target_idx", "origin"),
    ),
    Table(
        "patch_summaries",
        "What the images of a class add to the strongest patches and mean maps of every class; older versions kept it "
        "instead of patch_sums.",
        (
            *KEYS,
            TARGET,
            ORIGIN,
            count("n_images", "images in the sums"),
            listed("evidence", pa.float32(), "of the strongest patches, falling", LOGIT),
            listed("images", pa.int64(), "number of the image of each"),
            listed("map_y", pa.int64(), "row of each in its map"),
            listed("map_x", pa.int64(), "column of each in its map"),
            listed("sums", pa.int64(), "of the maps at each position, row by row", "logit / 2**20"),
            small("map_h", "height of the maps", "patches"),
            small("map_w", "width of the maps", "patches"),
        ),
        grain=("run_id", "class_id", "target_idx", "origin"),
        is_published=False,
    ),
    summary_table(
        "patch_sums",
        "What the images of some classes add to the strongest patches and mean maps of every class: lists go class by "
        "class, those in the data set's order that an output stands for, in each from its images and from others.",
        (
            listed("n_images", pa.int32(), "images in the sums", nullable=True),
            listed("evidence", pa.float32(), "of the strongest patches, falling; -inf: no more", LOGIT, nullable=True),
            listed("images", pa.int64(), "number of the image of each", nullable=True),
            listed("map_y", pa.int16(), "row of each in its map", nullable=True),
            listed("map_x", pa.int16(), "column of each in its map", nullable=True),
            listed("sums", pa.int64(), "of the maps at each position, row by row", "logit / 2**20", nullable=True),
            small("map_h", "height of the maps", "patches", nullable=True),
            small("map_w", "width of the maps", "patches", nullable=True),
        ),
    ),
)
