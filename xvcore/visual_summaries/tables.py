"""From images to visual summaries: masks, proposals, regions, similarity, clusters."""

import pyarrow as pa

from xvcore.store.schema import (
    CLASS,
    IMAGE,
    KEYS,
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
    maps,
    ordinal,
    picture,
    real,
    run_length,
    small,
    step,
    text,
)

JUDGED = {
    "blur_weak": "a weak blur",
    "blur_strong": "a strong blur",
    "mean": "the image's mean colour",
    "noise": "noise around the mean colour",
}
"""Baselines under which sharp masks are judged, in the words of their columns."""

MASK_COLUMNS = (
    *KEYS,
    IMAGE,
    key("kind", "stage of the optimisation", choices=("smooth", "sharp")),
    run_length("rle", "the salient pixels: those the mask removes (mask < 0.5)", nullable=True),
    maps("soft_map", "the mask before it is made binary; 1 keeps", "0 … 1", nullable=True),
    small("soft_h", "height of soft_map", "px", nullable=True),
    small("soft_w", "width of soft_map", "px", nullable=True),
    real("area_frac", "share of the image that the mask removes", "0 … 1", nullable=True),
    count("n_components", "connected pieces of the salient pixels", nullable=True),
    real("crispness", "mean of m (1 - m) over the image; 0 is binary", "0 … 0.25", nullable=True),
    real("prob_full", "probability of the class on the image", "0 … 1", nullable=True),
    real("prob_masked", "probability with the salient pixels removed", "0 … 1", nullable=True),
    real("prob_blurred", "probability with all pixels removed", "0 … 1", nullable=True),
    real("prob_drop", "(prob_full - prob_masked) / prob_full", nullable=True),
    real("p_score", "(prob_full - prob_masked) / (prob_full - prob_blurred)", nullable=True),
    count("iterations", "steps of the optimisation, a pass of the network forward and backward each", nullable=True),
    real(
        "objective", "what the stage minimises, at this mask before it is made binary; lower is better", nullable=True
    ),
    key("stopped", "why the optimisation of the image ended", nullable=True, choices=("steps", "tolerance")),
    flag("reached", "whether prob_drop is at least the least drop asked for; others feed no summary", nullable=True),
    *(
        real(f"drop_{each}", f"relative drop with the salient pixels replaced by {words}", nullable=True)
        for each, words in JUDGED.items()
    ),
    text("error", "why there is no mask", nullable=True),
)

declare(
    Table(
        "masks",
        "The pixels of an image that the network cannot do without.",
        MASK_COLUMNS,
        grain=("run_id", "class_id", "image_id", "kind"),
    ),
    Table(
        "masks_so_far",
        "Masks of a class that is still being worked on; gone when it is done.",
        MASK_COLUMNS,
        grain=("run_id", "class_id", "image_id", "kind"),
        is_published=False,
    ),
    Table(
        "masks_begun",
        "The batch of masks that is being worked on, as it was a moment ago; gone when the class is done.",
        (
            *KEYS,
            listed("image_ids", pa.string(), "images of the batch"),
            Column("state", pa.binary(), "tensors of the optimisation, as torch writes them"),
        ),
        grain=("run_id", "class_id"),
        is_published=False,
    ),
    Table(
        "proposals",
        "Region proposals of an image; they do not depend on a network and are shared by all.",
        (
            key("run_id", "the cache: digest of data set, input size and parameters of the search; not a run"),
            key("model", "empty: the boxes do not depend on a network", nullable=True),
            CLASS,
            IMAGE,
            text("sha256", "SHA-256 of the image file", nullable=True),
            listed("x", pa.int16(), "left edges", "px of the model input", nullable=True),
            listed("y", pa.int16(), "top edges", "px of the model input", nullable=True),
            listed("w", pa.int16(), "widths", "px of the model input", nullable=True),
            listed("h", pa.int16(), "heights", "px of the model input", nullable=True),
            text("error", "why there are none", nullable=True),
        ),
        grain=("run_id", "class_id", "image_id"),
        is_published=False,
    ),
    Table(
        "candidates",
        "A proposal that lies on salient pixels, before near copies are dropped.",
        (
            *KEYS,
            ordinal("region_id", "number of the region in its class"),
            IMAGE,
            *box("the region"),
            count("proposal_rank", "place among the image's proposals, from 0", nullable=True),
            real("mask_overlap", "share of the region that is salient", "0 … 1", nullable=True),
            real("redundancy", "how well it matches regions of other images", nullable=True),
            real("self_similarity", "its similarity to itself, the diagonal of the clustering's matrix", nullable=True),
            flag("kept", "whether it became a region", nullable=True),
        ),
        grain=("run_id", "class_id", "region_id"),
        is_published=False,
    ),
    Table(
        "regions",
        "A part of an image that was compared with those of the class's other images.",
        (
            *KEYS,
            ordinal("region_id", "number of the region in its class"),
            IMAGE,
            *box("the region"),
            count("proposal_rank", "place among the image's proposals, from 0", nullable=True),
            real("mask_overlap", "share of the region that is salient", "0 … 1", nullable=True),
            count("cluster_id", "cluster it belongs to; -1 for none"),
            flag("is_exemplar", "whether the cluster is built around it"),
            real("sim_exemplar", "similarity to the cluster's exemplar", nullable=True),
            flag("kept", "whether it agrees with the summary after alignment", nullable=True),
            picture("crop", "the region's pixels"),
        ),
        grain=("run_id", "class_id", "region_id"),
        growth="regions",
    ),
    Table(
        "similarity",
        "Proposal-flow similarity of two regions of a class, region_i < region_j.",
        (
            *KEYS,
            ordinal("region_i", "the region with the lower number"),
            ordinal("region_j", "the region with the higher number"),
            real("score", "similarity, higher is more alike"),
        ),
        grain=("run_id", "class_id", "region_i", "region_j"),
        # 1300 regions are 844 350 pairs: one class a row group, or the footer of 1000 classes would hold 84 000 groups.
        rows_per_group=1_000_000,
        growth="region pairs",
    ),
    Table(
        "clusters",
        "A cluster of regions: a visual summary if accepted.",
        (
            *KEYS,
            count("cluster_id", "number of the cluster in its class"),
            small("position", "place by score, from 1"),
            count("exemplar_region_id", "the region it is built around", nullable=True),
            count("n_regions", "its regions"),
            count("n_images", "images they come from"),
            real("mean_similarity", "mean similarity of its regions to the exemplar", nullable=True),
            real("ssim_median", "median structural similarity of its aligned regions", nullable=True),
            real("score", "ssim_median over the median of it in the class", nullable=True),
            flag("accepted", "whether it is a summary"),
            key("rejected", "why it is none: support, mask or coherence", nullable=True),
            real("prob_drop", "median relative drop of the probability when its region is blurred", nullable=True),
            key("part", "annotated part it covers most often", nullable=True),
            key("tag", "a word given to it", nullable=True),
            picture("montage", "its regions side by side"),
            flag("converged", "whether the clustering of the class converged", nullable=True),
            count("n_iter", "iterations of the clustering", nullable=True),
        ),
        grain=("run_id", "class_id", "cluster_id"),
        growth="regions",
    ),
    Table(
        "summary_parts",
        "Which annotated part the regions of an accepted summary contain, against random regions of equal size.",
        (
            *KEYS,
            count("cluster_id", "the summary"),
            key("part", "part that most of its regions contain", nullable=True),
            real("share", "share of its regions that contain the part", "0 … 1", nullable=True),
            real("random_share", "the same share for random regions of equal size", "0 … 1", nullable=True),
            real("random_purity", "share of their own majority part in as many random regions", "0 … 1", nullable=True),
            count("n_regions", "regions on annotated images", nullable=True),
        ),
        grain=("run_id", "class_id", "cluster_id"),
    ),
)

count_in_record(
    step("n_masks", "images with a mask"),
    step("n_regions", "regions compared"),
    step("n_clusters", "clusters of regions"),
    found("n_summaries", "accepted clusters"),
)
