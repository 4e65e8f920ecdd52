"""The demo of visual summaries: whether they find the parts that tell the birds."""

from collections.abc import Iterator

import pandas as pd

from xvcore.ops.parts import part_recall
from xvcore.query import table
from xvcore.runs.demos import Demo, demos
from xvcore.store import Store
from xvcore.visual_summaries.query.counts import summary_counts
from xvcore.visual_summaries.settings import VisualSummaries


def verdict(store: Store) -> Iterator[str]:
    """Yield how well the summaries of each network agree with the truth."""
    yield "accepted summaries against the truth that the drawings know:"
    yield agreement(store).round(3).to_string(index=False)


def agreement(store: Store) -> pd.DataFrame:
    """Return one row per network: how well its accepted summaries agree with the truth.

    ``purity`` is the mean share of a summary's regions that cover its majority part, ``random_purity`` the same for
    random regions of equal size, ``recall`` the mean share of a class's decisive parts that some summary covers.
    ``parts`` are the distinct parts that the summaries lie on, ``decisive`` those that tell the classes, and
    ``within_one`` is the share of the classes in which the two numbers differ by at most one.
    """
    shares = table(store, "summary_parts")
    truth = table(store, "parts", filters={"decisive": True})
    decisive = truth.groupby("class_id")["part"].agg(set)
    counts = summary_counts(store)
    rows = []
    for model in counts["model"].unique():
        of_model = shares[shares["model"] == model]
        classes = counts.loc[counts["model"] == model, "class_id"]
        recalls = [part_recall(of_model[of_model["class_id"] == each], decisive[each]) for each in classes]
        n_parts = counts[counts["model"] == model].set_index("class_id")["n_parts"]
        n_decisive = pd.Series({each: len(decisive[each]) for each in classes})
        rows.append(
            {
                "network": model,
                "classes": len(classes),
                "summaries": int(counts.loc[counts["model"] == model, "n_summaries"].sum()),
                "purity": of_model["share"].mean(),
                "random_purity": of_model["random_purity"].mean(),
                "recall": sum(recalls) / len(recalls),
                "parts": int(n_parts.sum()),
                "decisive": int(n_decisive.sum()),
                "within_one": ((n_parts - n_decisive).abs() <= 1).mean(),
            }
        )
    return pd.DataFrame(rows)


demos.register(VisualSummaries.method)(Demo(networks=("partbirds_wide", "partbirds_narrow"), verdict=verdict))
