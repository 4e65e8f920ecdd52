"""The questions people ask, put to the published files with nothing but pandas, DuckDB and pycocotools.

(Those of them that the tables of visual summaries answer; the files must serve without this library.)
"""

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pycocotools import mask as coco
from sklearn.cluster import AffinityPropagation

duckdb = pytest.importorskip("duckdb")

ROBIN, OWL, GOOSE = "n01558993", "n01622779", "n01855672"
VGG = "vgg16-visual-summaries-2"


@pytest.fixture
def tables(published):
    return f"{published.url}/tables"


def test_how_many_summaries_has_each_network_for_robin(tables):
    filters = [("class_id", "==", ROBIN), ("accepted", "==", True)]
    clusters = pd.read_parquet(f"{tables}/clusters", filters=filters)
    assert clusters.groupby("model").size().to_dict() == {"alexnet": 1, "vgg16": 2}


def test_mean_number_of_summaries_per_network(tables):
    found = duckdb.sql(
        f"select model, avg(n) from (select model, class_id, count(*) n from '{tables}/clusters/**/*.parquet' "
        "where accepted group by all) group by model order by all"
    )
    assert found.fetchall() == [("alexnet", 1.0), ("vgg16", 2.0)]


def test_who_needs_the_least_evidence(tables):
    columns = ["model", "kind", "area_frac", "prob_drop"]
    masks = pd.read_parquet(f"{tables}/masks", filters=[("kind", "==", "sharp")], columns=columns)
    medians = masks.groupby("model")[["area_frac", "prob_drop"]].median()
    assert medians.loc["vgg16", "area_frac"] < medians.loc["alexnet", "area_frac"]


def test_do_two_networks_look_at_the_same_pixels(tables):
    filters = [("kind", "==", "sharp"), ("class_id", "==", ROBIN)]
    masks = pd.read_parquet(f"{tables}/masks", filters=filters).pivot(index="image_id", columns="model", values="rle")
    both = masks.dropna()
    overlap = [coco.iou([a], [b], [0])[0, 0] for a, b in zip(both["alexnet"], both["vgg16"], strict=True)]
    assert sorted(overlap) == [0.5, 1.0, 1.0]


def test_which_regions_resemble_region_3(tables):
    found = duckdb.sql(
        f"select region_i + region_j - 3 other, score from '{tables}/similarity/*alexnet*.parquet' "
        f"where class_id = '{ROBIN}' and 3 in (region_i, region_j) order by score desc limit 2"
    )
    assert [other for other, _ in found.fetchall()] == [1, 5]


def test_show_a_summary(tables):
    filters = [("class_id", "==", ROBIN), ("model", "==", "alexnet"), ("cluster_id", "==", 0)]
    regions = pd.read_parquet(f"{tables}/regions", filters=filters)
    crops = regions.nlargest(9, "sim_exemplar")["crop"].dropna()
    assert [Image.open(io.BytesIO(crop["bytes"])).size for crop in crops] == [(5, 6), (5, 6)]


def test_what_failed_or_is_missing(tables):
    found = duckdb.sql(
        f"select r.run_id, c.class_name, k.status, k.error from '{tables}/runs/*.parquet' r "
        f"join '{tables}/classes/*.parquet' c using (dataset) left join '{tables}/class_runs/**/*.parquet' k "
        "on k.run_id = r.run_id and k.class_id = c.class_id "
        f"where k.status is distinct from 'complete' and r.run_id = '{VGG}' order by all"
    )
    assert [row[1:] for row in found.fetchall()] == [
        ("goose", None, None),
        ("great grey owl", "failed", "out of memory"),
    ]


def test_cluster_again_with_another_preference(tables):
    pairs = pd.read_parquet(f"{tables}/similarity", filters=[("run_id", "==", VGG), ("class_id", "==", ROBIN)])
    n = pairs["region_j"].max() + 1
    scores = np.eye(n, dtype="f4")
    scores[pairs["region_i"], pairs["region_j"]] = scores[pairs["region_j"], pairs["region_i"]] = pairs["score"]
    labels = AffinityPropagation(affinity="precomputed", preference=-1, random_state=0).fit_predict(scores)
    assert len(set(labels[::2])) == len(set(labels[1::2])) == 1
    assert labels[0] != labels[1]


def test_class_by_network_table(tables):
    wide = pd.read_parquet(f"{tables}/class_runs").pivot_table(index="class_name", columns="model", values="n_clusters")
    assert wide.loc["American robin"].to_dict() == {"alexnet": 1, "vgg16": 2}


def test_the_footer_says_what_the_file_is_also_to_sql(tables):
    found = duckdb.sql(
        f"select decode(value) from parquet_kv_metadata('{tables}/masks/{VGG}.parquet') where key = 'xvcore'"
    )
    assert '"table":"masks"' in found.fetchall()[0][0]
