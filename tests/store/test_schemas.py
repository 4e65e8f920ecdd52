import subprocess
import sys

import pandas as pd
import pyarrow as pa
import pytest

from xvcore.errors import UnknownNameError
from xvcore.store import SCHEMAS
from xvcore.store.dictionary import data_dictionary
from xvcore.store.schema import MAP

TABLES = list(SCHEMAS)
OF_THIS_FAMILY = {
    *("runs", "class_runs", "classes", "parts", "manifest", "predictions", "masks", "proposals", "candidates"),
    *("regions", "similarity", "clusters", "summary_parts", "summary_drops", "part_counts"),
}


def test_every_table_of_the_family_is_declared():
    assert set(TABLES) >= OF_THIS_FAMILY


@pytest.mark.parametrize("name", TABLES)
def test_no_column_shadows_an_attribute_of_a_data_frame(name):
    frame = pd.DataFrame()
    assert [column for column in SCHEMAS[name].names if hasattr(frame, column)] == []


@pytest.mark.parametrize("name", TABLES)
def test_every_column_says_once_what_it_is(name):
    table = SCHEMAS[name]
    assert len(set(table.names)) == len(table.columns)
    for column in table.columns:
        assert column.name.isidentifier()
        assert column.description
        assert not column.description.endswith(".")
        assert table.arrow.field(column.name).metadata == {
            b"description": column.description.encode(),
            b"unit": column.unit.encode(),
        }


@pytest.mark.parametrize("name", TABLES)
def test_the_grain_exists_and_is_never_null(name):
    table = SCHEMAS[name]
    keys = {*table.grain, table.owner} | ({table.shard} if table.shard else set())
    assert keys <= set(table.names)
    assert not any(table[key].nullable for key in keys)
    assert table.owner in table.grain


@pytest.mark.parametrize("name", TABLES)
def test_strings_are_plain_arrow_strings(name):
    assert not any(pa.types.is_dictionary(column.type) for column in SCHEMAS[name].columns)


def test_maps_have_their_sides_beside_them():
    masks = SCHEMAS["masks"]
    assert {"soft_map", "soft_h", "soft_w"} <= set(masks.names)


def test_an_unknown_table_or_column_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="did you mean clusters"):
        SCHEMAS["cluster"]
    with pytest.raises(UnknownNameError, match="did you mean class_id"):
        SCHEMAS["clusters"]["class_idx"]


def test_the_data_dictionary_names_every_column_of_every_table():
    text = data_dictionary()
    for name in TABLES:
        section = text.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]
        for column in SCHEMAS[name].columns:
            assert f"| {column.name} |" in section
            assert column.description in section


def test_the_data_dictionary_says_how_maps_are_added_up():
    sections = {each.partition("\n")[0]: each for each in f"\n{data_dictionary()}".split("\n## ")[1:]}
    for name in TABLES:
        has_maps = any(column.type == MAP for column in SCHEMAS[name].columns)
        assert ("cast first" in sections[name]) == has_maps, name
    assert "np.float32" in sections["evidence"]


def columns_when_imported(*families):
    """Return the columns of ``class_runs`` in a process that imports the tables of these families first."""
    lines = [f"import xvcore.{family}.tables" for family in families]
    lines += ["from xvcore.store.schema import SCHEMAS", "print(*SCHEMAS['class_runs'].names)"]
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True).stdout


def test_the_record_of_a_class_has_one_order_of_columns_whichever_family_was_imported_first():
    families = ("visual_summaries", "prototypes", "comparison")
    assert columns_when_imported(*families) == columns_when_imported(*reversed(families))
