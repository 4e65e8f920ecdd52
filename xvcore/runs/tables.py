"""What a run sees of a class: its image files, and what the network says of each."""

import pyarrow as pa

from xvcore.store.schema import CLASS, IMAGE, KEYS, MODEL, RUN, Column, Table, count, declare, flag, key, real, text

declare(
    Table(
        "manifest",
        "An image file that a run saw, or could not read.",
        (
            RUN,
            MODEL,
            CLASS,
            key("image_id", "the image, unique in its data set"),
            text("path", "file or address; empty where the data set draws it", nullable=True),
            text("sha256", "SHA-256 of the file", nullable=True),
            Column("n_bytes", pa.int64(), "size of the file", "bytes", nullable=True),
            text("error", "why it could not be read", nullable=True),
        ),
        grain=("run_id", "class_id", "image_id"),
    ),
    Table(
        "predictions",
        "An image and what the network says of it; every image of the manifest has its row.",
        (
            *KEYS,
            IMAGE,
            text("path", "file or address; empty where the data set draws it", nullable=True),
            text("sha256", "SHA-256 of the file", nullable=True),
            count("width", "width of the file's picture", "px", nullable=True),
            count("height", "height of the file's picture", "px", nullable=True),
            count("target_idx", "output of the network that stands for the class", nullable=True),
            count("pred_idx", "output with the highest probability, the first of several", nullable=True),
            real("prob_target", "probability of the class", "0 … 1", nullable=True),
            real("prob_pred", "probability of the prediction", "0 … 1", nullable=True),
            count(
                "rank_target",
                "place of the class among the outputs by score, from 1; equal ones come first",
                nullable=True,
            ),
            flag("correct", "whether the class, and no other output, has the highest score", nullable=True),
            key(
                "skipped",
                "why the image was left out of all that follows: misclassified, or copy of another image of the class, "
                "whose pixels at the network's input are equal",
                nullable=True,
            ),
            text(
                "error",
                "why there is no prediction: the image cannot be read, or the output is not finite",
                nullable=True,
            ),
        ),
        grain=("run_id", "class_id", "image_id"),
    ),
)
