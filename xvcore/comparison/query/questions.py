"""Eight questions of two networks or more, as the SQL that answers them; ``xv query`` takes it as it is."""

from typing import Final

import pandas as pd

from xvcore.errors import unknown_name
from xvcore.store import Store

QUESTIONS: Final = {
    "Which parts does a network use and another miss?": """
        select class_id, model, other, part_id, n_images, verdict, own_loss, other_loss, probe_accuracy, reason
        from part_verdicts where verdict in ('could but does not use', 'cannot', 'does not use')
        order by class_id, model, other, part_id""",
    "Which parts do two networks share, and how alike are they?": """
        select class_id, model, other, part_id, nearest, partner, strength, beyond_seed
        from part_verdicts where verdict = 'shared' order by class_id, model, other, strength desc""",
    "What is not decided, and why?": """
        select reason, count(*) as n_parts from part_verdicts where verdict = 'undecided'
        group by reason order by n_parts desc, reason""",
    "How many parts has a class in the eyes of each network?": """
        select class_id, model, n_summaries, n_parts, parts_low, parts_high, parts_per_image, accuracy
        from comparison_classes order by class_id, model""",
    "Does the number of parts go with accuracy?": """
        select model, mean_parts, mean_parts_low, mean_parts_high, accuracy, n_networks, correlation, correlation_low,
               correlation_high
        from comparison_networks order by accuracy desc, model""",
    "Of how many classes does a network show more parts than another?": """
        select model, other, count(*) as n_classes, sum(cast(wins as integer)) as n_wins, avg(difference) as difference
        from comparison_wins group by model, other order by n_wins desc, model, other""",
    "What does a network lose when another's parts are deleted, beyond random regions?": """
        select model, other, count(*) as n_parts, avg(loss) as loss, avg(loss_random) as loss_random,
               avg(difference) as difference
        from cross_deletions group by model, other order by model, other""",
    "How alike are two networks by the measures of others, and by their masks, against chance?": """
        select model, other, avg(cka) as cka, avg(cka_null) as cka_null, avg(wmppc) as wmppc, avg(wmppc_null) as
               wmppc_null, avg(rsvc) as rsvc, avg(rsvc_self) as rsvc_self, avg(bsr) as bsr, avg(bsr_null) as bsr_null,
               avg(mask_overlap) as mask_overlap, avg(mask_overlap_null) as mask_overlap_null
        from network_likeness where depth = 1 group by model, other order by model, other""",
}
"""SQL by question. Of a store with several comparisons, add a condition on ``run_id``."""


def ask(store: Store, question: str) -> pd.DataFrame:
    """Return the answer to one of the questions (needs the extra ``sql``).

    Raises
    ------
    UnknownNameError
        None of :data:`QUESTIONS`.
    """
    from xvcore.query import answer

    if question not in QUESTIONS:
        raise unknown_name("question", question, QUESTIONS)
    found: pd.DataFrame = answer(store, QUESTIONS[question]).to_pandas()
    return found
