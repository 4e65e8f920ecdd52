"""Charts are well-formed, hold every point, and take the page's colours."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from xvcore.analyses.questions.figures import Frame, Series, line_chart, scatter_chart, ticks
from xvcore.errors import ParameterError

SVG = "{http://www.w3.org/2000/svg}"
X = np.array([0.0, 1.0, 2.0, 5.0])


def chart(*series, **options):
    return ET.fromstring(line_chart(list(series), Frame("a < b & c", "x", "y", **options)))


def texts(root):
    return [each.text for each in root.iter(f"{SVG}text")]


def test_every_point_and_name_is_there_and_text_is_escaped():
    root = chart(Series("first <1>", X, X**2), Series("second", X, -X))
    assert {"a < b & c", "first <1>", "second", "x", "y"} <= set(texts(root))
    lines = root.findall(f"{SVG}polyline")
    assert [len(line.get("points").split()) for line in lines] == [4, 4]
    assert len(root.findall(f"{SVG}g")) == 8


def test_points_lie_where_their_axes_say():
    root = chart(Series("s", X, X, X - 0.5, X + 0.5), y_range=(0.0, 10.0))
    marks = {each.text: each for each in root.iter(f"{SVG}text")}
    points = [tuple(map(float, p.split(","))) for p in root.find(f"{SVG}polyline").get("points").split()]
    assert points[2][0] == pytest.approx(float(marks["2"].get("x")), abs=0.11)
    assert points[2][1] == pytest.approx(float(marks["2"].get("y")) - 5, abs=0.11) or marks["2"].get("text-anchor")
    assert points[0][1] > points[1][1] > points[3][1]  # up is more


def test_a_value_without_a_number_is_left_out_and_a_chart_of_nothing_refused():
    root = chart(Series("s", X, np.array([1.0, np.nan, 2.0, np.inf])))
    assert len(root.find(f"{SVG}polyline").get("points").split()) == 2
    with pytest.raises(ParameterError, match="chart of nothing"):
        chart(Series("s", X, np.full(4, np.nan)))
    with pytest.raises(ParameterError, match="chart of nothing"):
        chart()


def test_a_single_point_and_equal_values_have_a_scale():
    for y in (0.0, 3.0, -1e-9):
        root = chart(Series("s", np.array([2.0]), np.array([y])))
        assert len(root.findall(f"{SVG}g")) == 1
        assert "nan" not in ET.tostring(root, encoding="unicode")


def test_text_takes_the_colour_of_the_page():
    plain = line_chart([Series("s", X, X)], Frame("t", "x", "y"))
    assert 'fill="currentColor"' in plain
    assert "#000" not in plain
    assert "<style" not in plain
    assert "var(--n0, " in plain


def test_places_have_their_names():
    root = chart(Series("s", np.arange(3), np.arange(3.0)), x_names=["whole", "2 × 2", "4 × 4"])
    assert {"whole", "2 × 2", "4 × 4"} <= set(texts(root))


def test_the_diagonal_joins_equal_values():
    points = [Series("s", X, X, labels=["a", "b", "c", "d"])]
    root = ET.fromstring(scatter_chart(points, Frame("t", "x", "y", has_diagonal=True)))
    dashed = [each for each in root.iter(f"{SVG}line") if each.get("stroke-dasharray")]
    assert len(dashed) == 1
    assert not root.findall(f"{SVG}polyline")
    assert any(each.text.startswith("c: 2, 2") for each in root.iter(f"{SVG}title"))


def test_many_names_wrap_and_stay_on_the_picture():
    root = chart(*[Series(f"a rather long name of a curve {k}", X, X + k) for k in range(9)])
    names = [each for each in root.iter(f"{SVG}text") if (each.text or "").startswith("a rather")]
    assert len({each.get("y") for each in names}) > 2
    assert all(float(each.get("x")) + 7 * len(each.text) < 720 for each in names)


@pytest.mark.parametrize("ends", [(0, 1), (0, 100), (-3.2, 7), (0.001, 0.0042), (12, 13), (-1e6, 1e6), (0.5, 0.500001)])
def test_ticks_are_few_round_evenly_spaced_and_inside(ends):
    found = np.array(ticks(*ends))
    steps = np.diff(found)
    assert 3 <= len(found) <= 7
    assert steps == pytest.approx(np.full(len(steps), steps[0]), rel=1e-6)
    leading = steps[0] / 10 ** np.floor(np.log10(steps[0]) + 1e-9)
    assert min(abs(leading - each) for each in (1, 2, 5)) < 1e-6
    assert found[0] >= ends[0] - 1e-9 * abs(ends[0])
    assert found[-1] <= ends[1] + 1e-9 * abs(ends[1])


def test_a_reference_is_dashed_in_the_colour_of_the_text():
    curves = [Series("bar", X, X, is_reference=True), Series("other", X, X)]
    lines = ET.fromstring(line_chart(curves, Frame("t", "x", "y"))).findall(f"{SVG}polyline")
    assert [line.get("style") for line in lines] == ["stroke:currentColor", "stroke:var(--n1, #d9711c)"]
    assert [line.get("stroke-dasharray") is None for line in lines] == [False, True]
