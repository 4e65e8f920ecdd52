"""The benchmark of many classes at a small size, so that it is right where it counts."""

from pathlib import Path

import many_classes
import pytest


@pytest.mark.parametrize("method", many_classes.SETTINGS)
def test_what_spans_classes_is_one_small_file_and_all_figures_are_there(method: str, tmp_path: Path) -> None:
    found = [many_classes.measured(method, n_classes, 1, tmp_path / str(n_classes)) for n_classes in (2, 5)]
    assert [each["n_merged"] for each in found] == [1, 1]
    assert all(each["over_parts"] > 1 and each["run_ms"] > 0 for each in found)
    assert found[1]["store_mib"] > found[0]["store_mib"]
    lines = many_classes.table(found).splitlines()
    assert [line.count("|") for line in lines] == [len(many_classes.COLUMNS) + 1] * 4
    assert [line.split("|")[2].strip() for line in lines[2:]] == ["2", "5"]
