"""A missing cell is missing whoever read the table: None from Arrow, NA from DuckDB, NaN from older readers."""

import numpy as np
import pandas as pd
import pytest

from xvcore.errors import StoreError
from xvcore.store.encode import encoded, map_array, picture, picture_array, rle_decode, rle_encode, rle_overlap

MISSING = [None, pd.NA, float("nan"), np.float32("nan"), np.ma.masked, pd.NaT]


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_a_missing_picture_has_no_bytes(missing) -> None:
    assert encoded(missing) is None
    assert encoded({"bytes": missing, "path": "x"}) is None


@pytest.mark.parametrize("missing", MISSING, ids=repr)
def test_what_is_missing_cannot_be_decoded(missing) -> None:
    mask = rle_encode(np.ones((2, 2), dtype=bool))
    with pytest.raises(StoreError, match="no mask"):
        rle_decode(missing)
    for pair in ((mask, missing), (missing, mask)):
        with pytest.raises(StoreError, match="no mask"):
            rle_overlap(*pair)
    with pytest.raises(StoreError, match="no map"):
        map_array(missing, 2, 2)
    with pytest.raises(StoreError, match="no picture"):
        picture_array(missing)


def test_frames_of_duckdb_and_of_arrow_give_the_same_pictures(tmp_path) -> None:
    pytest.importorskip("duckdb")
    from xvcore.query import connect, table
    from xvcore.store import Store

    store = Store(tmp_path)
    crops = [picture(np.full((4, 4, 3), 9, np.uint8)), None]
    box = {"x": 0, "y": 0, "w": 1, "h": 1, "proposal_rank": 0, "cluster_id": 0, "is_exemplar": False, "kept": True}
    rows = [{"region_id": k, "image_id": "i", "model": "m", **box, "crop": crop} for k, crop in enumerate(crops)]
    store.write("regions", "r", "c", rows)
    expected = [encoded(cell) for cell in table(store, "regions")["crop"]]
    assert expected == [crops[0]["bytes"], None]
    assert [encoded(cell) for cell in connect(store).sql("from regions order by region_id").df()["crop"]] == expected
