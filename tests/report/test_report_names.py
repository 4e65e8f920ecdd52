"""Names of pages and links between them."""

import posixpath
from urllib.parse import unquote, urlsplit

from hypothesis import example, given
from hypothesis import strategies as st

from xvcore.report.names import image_names, link, page_name, page_names

HOSTILE = [
    "a/b",
    "../../etc",
    ".",
    "..",
    "",
    " ",
    "<script>",
    'quo"te',
    "a\\b",
    "nul",
    "CON.txt",
    "index",
    "a" * 300,
    "ä",
    "鳥",
    "x~1",
]


@given(st.text(max_size=60))
@example("..")
@example("index")
@example("ABOUT.0")
@example("con. x")
def test_a_name_is_one_visible_portable_path_component(key):
    name = page_name(key)
    assert 0 < len(name) <= 110
    assert not set(name) & set('/\\<>:"|?*%# &\x00')
    assert name.isascii()
    assert not name.startswith((".", "_"))
    assert not name.endswith(".")
    assert name.split(".")[0].casefold() not in {"index", "con", "nul", "about", "pictures"}


@given(st.lists(st.text(max_size=20), unique=True, max_size=20))
@example(HOSTILE)
@example(["a", "A", "a~b", "A b", "a b"])
def test_different_keys_have_different_names_also_without_regard_to_case(keys):
    names = page_names(keys)
    assert len({name.casefold() for name in names.values()}) == len(keys)


@given(st.lists(st.text("aAbB/~. ", max_size=8), unique=True, max_size=20))
@example(["a/x", "b/x", "x", "X"])
@example(["a/x", "b/x", "c/x~0", "a x"])
def test_different_images_have_different_names(image_ids):
    assert len({name.casefold() for name in image_names(image_ids).values()}) == len(image_ids)


def test_an_image_is_named_after_its_file_where_that_is_clear():
    names = image_names(["train/n01/a.JPEG", "train/n01/b.JPEG", "val/n01/b.JPEG"])
    assert names["train/n01/a.JPEG"] == "a.JPEG"
    assert len(set(names.values())) == 3


def test_a_plain_key_is_its_own_name():
    for key in ("n01558993", "001.Black_footed_Albatross", "squeezenet1_1", "ILSVRC2012_val_00000001.JPEG"):
        assert page_name(key) == key


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=3), st.integers(0, 2))
def test_a_link_leads_to_its_target(keys, depth):
    target = "/".join([*map(page_name, keys), "index.html"])
    page = "/".join([*(["folder"] * depth), "page.html"])
    path = unquote(urlsplit(link(page, target)).path)
    assert posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) == target


def test_a_link_keeps_its_fragment():
    assert link("a/b.html", "a/c.html#summary-3") == "c.html#summary-3"
    assert link("a/b.html", "c.html#x y") == "../c.html#x%20y"
