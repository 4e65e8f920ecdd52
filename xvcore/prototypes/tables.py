"""Features of a frozen network, heads trained on them, prototypes, and decisions taken apart."""

import pyarrow as pa

from xvcore.store.schema import (
    CLASS,
    IMAGE,
    KEYS,
    MODEL,
    RUN,
    Column,
    Table,
    box,
    count,
    count_in_record,
    declare,
    flag,
    found,
    key,
    listed,
    picture,
    real,
    small,
    stored_file,
    text,
)

LOGIT = "logit"
PX = "px of the model input"
TRAINING = key("training", "which training of the run: seed-0, seed-1, …")
PROTOTYPE = count("prototype", "number of the channel behind the rotation, from 0")
SIDE = key("side", "where the channel is above 0, or below", choices=("positive", "negative"))
TARGET = count("target_idx", "output of the network that is taken apart")
WHICH = key("target_kind", "why this output", choices=("label", "prediction"))


def place(name: str, what: str) -> tuple[Column, ...]:
    """Return columns of the cell of a position, missing where no position speaks to that side."""
    return (
        small(f"{name}_x", f"left edge of {what}", PX, nullable=True),
        small(f"{name}_y", f"top edge of {what}", PX, nullable=True),
        small(f"{name}_w", f"width of {what}", PX, nullable=True),
        small(f"{name}_h", f"height of {what}", PX, nullable=True),
    )


declare(
    Table(
        "features",
        "The last map of a frozen network for an image, as heads are trained on it; shared by all runs of the network.",
        (
            key("run_id", "the cache: digest of network, preprocessing, layer and data set; not a run"),
            key("model", "empty: the weights' digest is in the name of the cache", nullable=True),
            CLASS,
            IMAGE,
            text("sha256", "SHA-256 of the image file", nullable=True),
            Column(
                "features",
                pa.binary(),
                "16-bit floats as bytes, the low one first: position by position, of each its channels",
            ),
            text("digest", "SHA-256 of the values' bytes"),
        ),
        grain=("run_id", "class_id", "image_id"),
        is_published=False,
        rows_per_group=256,
    ),
    Table(
        "head_epochs",
        "An epoch of the training of a head, or of the linear probe beside it.",
        (
            RUN,
            MODEL,
            TRAINING,
            key("kind", "what is trained", choices=("head", "probe", "rotation")),
            small("epoch", "number of the epoch, from 1"),
            real("loss", "mean loss over the training images", nullable=True),
            real("accuracy", "share of them that is right, while they are learned", "0 … 1", nullable=True),
            real("loss_held_out", "mean loss over the held-out images", nullable=True),
            real("accuracy_held_out", "share of them that is right", "0 … 1", nullable=True),
            real("purity", "mean purity of the pixels that the rotation is trained on", "0 … 1", nullable=True),
        ),
        grain=("run_id", "training", "kind", "epoch"),
        shard="training",
    ),
    Table(
        "heads",
        "How well a network, a linear probe on its features and a head of prototypes tell the classes of a data set.",
        (
            RUN,
            MODEL,
            TRAINING,
            key(
                "kind",
                "backbone: the network's own outputs; probe: linear on the mean of its features; head: prototypes",
                choices=("backbone", "probe", "head"),
            ),
            count("n_train", "images that were trained on"),
            count("n_held_out", "images by which the training was stopped"),
            count("n_tested", "images that were kept from both"),
            real("accuracy_train", "share of the training images that is right", "0 … 1", nullable=True),
            real("accuracy_held_out", "share of the held-out images that is right", "0 … 1", nullable=True),
            real("accuracy_tested", "share of the images kept from the training that is right", "0 … 1", nullable=True),
            small("best_epoch", "epoch whose weights are kept, from 1", nullable=True),
            real(
                "n_active", "mean number of contributions above 0.2 to the prediction of a tested image", nullable=True
            ),
            real("orthogonality", "largest element of U Uᵀ - I", nullable=True),
            stored_file("file", "weights, relative to the store: infodisent@STORE/FILE"),
            text("sha256", "SHA-256 of the weights", nullable=True),
            text("made_from", "digest of features, images, classes and parameters"),
        ),
        grain=("run_id", "training", "kind"),
        shard="training",
    ),
    Table(
        "prototype_scans",
        "The strongest patches of every prototype, and of every plain channel, in one class; merged at the end.",
        (
            *KEYS,
            key("kind", "prototypes, or the plain channels of the network below", choices=("prototype", "channel")),
            count("n_channels", "number of channels"),
            listed("strength", pa.float32(), "by channel, side and place, falling; 0 where there is none"),
            listed("images", pa.int64(), "number of the image of each"),
            listed("places", pa.int32(), "place of each in its map, row by row"),
        ),
        grain=("run_id", "class_id", "kind"),
        is_published=False,
    ),
    Table(
        "prototype_decisions",
        "The logit of an image's class, or of the class that is predicted, and how many prototypes it takes.",
        (
            *KEYS,
            IMAGE,
            TARGET,
            WHICH,
            real("logit", "score of the output", LOGIT),
            real("bias", "what is added whatever the image", LOGIT),
            real("sum_error", "sum of all contributions and bias minus the logit", LOGIT),
            real("rest", "sum of the contributions that have no row in prototype_contributions", LOGIT),
            count("n_active", "contributions of at least the threshold, in units of the logit"),
            count("n_active_share", "contributions of at least the threshold times the logit's absolute value"),
            count(
                "n_needed", "fewest contributions, strongest first, that come within the threshold's share of the sum"
            ),
            listed("contributions", pa.float32(), "of every prototype, in order", LOGIT),
        ),
        grain=("run_id", "class_id", "image_id", "target_idx"),
    ),
    Table(
        "prototype_contributions",
        "What a prototype adds to the logit of an image's class, or of the predicted class; the strongest of each.",
        (
            *KEYS,
            IMAGE,
            TARGET,
            WHICH,
            small("position", "place by absolute value, from 1"),
            PROTOTYPE,
            real("contribution", "weight times value", LOGIT),
            real("weight", "of the prototype for the output"),
            real("value", "what the prototype says of the image"),
            real("positive", "largest value of the channel, 0 where it is nowhere positive"),
            real("negative", "absolute value of its smallest, 0 where it is nowhere negative"),
            *place("positive", "the cell of the largest value"),
            *place("negative", "the cell of the smallest value"),
        ),
        grain=("run_id", "class_id", "image_id", "target_idx", "position"),
    ),
    Table(
        "prototypes",
        "One of the strongest patches of a prototype, one of an image.",
        (
            RUN,
            MODEL,
            SIDE,
            PROTOTYPE,
            small("position", "place by value, from 1"),
            IMAGE,
            key("image_class_id", "class of the image"),
            real("value", "absolute value of the channel there"),
            *box("the cell of the position"),
            count("field_x", "left edge of what the position can see, may lie before the image", PX),
            count("field_y", "top edge of it", PX),
            count("field_w", "width of it", PX),
            count("field_h", "height of it", PX),
            picture("crop", "the pixels of the cell; for prototypes that a decision or a class shows"),
        ),
        grain=("run_id", "side", "prototype", "position"),
        shard="side",
    ),
    Table(
        "prototype_weights",
        "Weight of a prototype for a class.",
        (
            *KEYS,
            TARGET,
            PROTOTYPE,
            small("position", "place by absolute weight, from 1"),
            real("weight", "of the prototype for the output"),
            real("mean_contribution", "mean over the images of the class", LOGIT),
            count("n_images", "images of the class to which it contributes at least the threshold"),
        ),
        grain=("run_id", "class_id", "prototype"),
    ),
    Table(
        "prototype_parts",
        "Which annotated part the patches of a prototype meet, and of a plain channel of the network below.",
        (
            RUN,
            MODEL,
            key("kind", "prototypes, or the plain channels as control", choices=("prototype", "channel")),
            SIDE,
            PROTOTYPE,
            count("n_patches", "patches in images with parts"),
            key("part", "the part that most of them meet", nullable=True),
            real("share", "share of them that do: part purity", "0 … 1", nullable=True),
            real("random_share", "share of random boxes of the same size that meet that part", "0 … 1", nullable=True),
            real("random_purity", "part purity of as many random boxes", "0 … 1", nullable=True),
            flag("is_used", "whether a decision shows it (of channels: whether one of them is as strong)"),
        ),
        grain=("run_id", "kind", "side", "prototype"),
        shard="kind",
    ),
    Table(
        "prototype_removals",
        "How far the predicted logit of an image falls without the cell of the prototype that adds most to it, and "
        "without a random cell; of the images that are measured.",
        (
            *KEYS,
            IMAGE,
            count("target_idx", "output of the network that is predicted"),
            PROTOTYPE,
            real("fall", "without the cell of the prototype's strongest position", LOGIT),
            real("random_fall", "without a random cell, mean of several", LOGIT),
        ),
        grain=("run_id", "class_id", "image_id"),
    ),
    Table(
        "prototype_measures",
        "A measure of the prototypes of a run, and of its control.",
        (
            RUN,
            MODEL,
            key("measure", "name of the measure"),
            text("description", "what it is"),
            real("value", "of the prototypes", nullable=True),
            real("control", "of the control that the description names", nullable=True),
            count("n", "images or prototypes in it"),
        ),
        grain=("run_id", "measure"),
        shard="measure",
    ),
)

count_in_record(found("n_prototypes", "prototypes that are active in a decision for the class"))
