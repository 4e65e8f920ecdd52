"""Analyses: a table each, named after the analysis, and the figures of all."""

import pyarrow as pa

from xvcore.store.schema import (
    CLASS,
    IMAGE,
    KEYS,
    MODEL,
    Column,
    Table,
    count,
    declare,
    flag,
    key,
    listed,
    maps,
    real,
    small,
    text,
)

INPUT_PX = "px of the model input"
LOGIT = "logit"
SHARE = "0 … 1"
OWNER = key("run_id", "the run; or, where several networks are compared, the digest of their runs: see comparisons")
TARGET = count("target_idx", "output of the network whose score is read")
LAYER = key("layer", "dotted name of the module")

declare(
    Table(
        "figures",
        "A figure of an analysis as SVG, of one network or of several that are compared.",
        (
            OWNER,
            key("model", "the network; several are joined by +"),
            key("name", "name of the figure in its analysis"),
            text("title", "the figure in words"),
            text("svg", "the figure", nullable=True),
            text("error", "why there is no figure", nullable=True),
        ),
        grain=("run_id", "name"),
        shard="name",
    ),
    Table(
        "comparisons",
        "What figures and joined tables were made of, one row a network; written last.",
        (
            OWNER,
            count("position", "place of the network in the request, from 0"),
            key("of_run", "run that is shown or compared"),
            MODEL,
            count("n_classes", "classes that all the runs had finished"),
            text("classes_digest", "digest of their ids"),
        ),
        grain=("run_id", "position"),
        shard=None,
        is_published=False,
    ),
    Table(
        "interactions",
        "A block of regions that were removed one by one and together.",
        (
            *KEYS,
            IMAGE,
            small("gap_px", "pixels between neighbouring regions of the block", INPUT_PX),
            small("placement", "number of the block among those of the same gap, from 0"),
            small("x", "left edge of the block", INPUT_PX),
            small("y", "top edge of the block", INPUT_PX),
            TARGET,
            real("sum_of_drops", "what the logit loses by each region alone, summed", LOGIT),
            real("joint_drop", "what the logit loses by all regions together", LOGIT),
        ),
        grain=("run_id", "class_id", "image_id", "gap_px", "placement"),
    ),
    Table(
        "scrambling",
        "What the network says of an image whose blocks were shuffled.",
        (
            *KEYS,
            IMAGE,
            key("condition", "whole, or the side of the blocks"),
            small("block_px", "side of the blocks; missing where nothing was shuffled", INPUT_PX, nullable=True),
            TARGET,
            count("pred_idx", "output with the highest probability"),
            real("prob_target", "probability of the class", SHARE),
            count("rank_target", "place of the class among the outputs, 1 is the prediction"),
            flag("correct", "whether the prediction is the class"),
        ),
        grain=("run_id", "class_id", "image_id", "condition"),
    ),
    Table(
        "masking",
        "Score of an image after the patches that a ranking puts first were removed.",
        (
            *KEYS,
            IMAGE,
            key("ranking", "what ranked the patches: an attribution, of this network or of another, or random"),
            count("n_removed", "patches removed; 0 is the whole image"),
            TARGET,
            real("area_removed", "share of the image that was removed", SHARE),
            real("logit", "score of the class", LOGIT),
            real("prob", "probability of the class", SHARE),
        ),
        grain=("run_id", "class_id", "image_id", "ranking", "n_removed"),
    ),
)
