"""Laws of the widget: its state follows what is asked for, in Python and in a browser."""

import json
import sys
from pathlib import Path

import pytest
from bird_store import HOSTILE_MODEL, WIDE, picture_of, write_store
from browser import CHROMIUM, DRIVER, chromium
from method_store import LOCAL, evidence_store, units_store

import xvcore
from xvcore.errors import StoreError, UnknownNameError, XvError
from xvcore.store import Store

traitlets = pytest.importorskip("traitlets", reason="anywidget is not installed")
pytest.importorskip("anywidget", reason="anywidget is not installed")

HOST = """<!doctype html><html lang="en"><meta charset="utf-8"><title>leaf</title><style>:root{color-scheme:light dark}CSS</style>
<main><h1>leaf</h1><div id="el"></div></main><script type="module">
ESM
const state = STATE, heard = {};
window.state = state; window.saved = [];
const model = {
  get: (name) => state[name],
  set: (name, value) => { state[name] = value; },
  on: (name, call) => { (heard[name] ??= []).push(call); },
  save_changes: () => {
    window.saved.push([state.position, state.layer]);
    state.page = `<figure>page ${state.position} ${state.layer}</figure>`;
    for (const call of heard["change:page"]) call();
  },
};
leaf.render({ model, el: document.getElementById("el") });
window.ready = true;
</script>"""


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Store:
    return write_store(tmp_path_factory.mktemp("birds"))


def test_leafing_changes_the_image_and_the_layer_what_lies_over_it(birds) -> None:
    widget = xvcore.leaf(birds, "robin", network=WIDE, picture_of=picture_of)
    assert widget.n_images == 6
    assert widget.layers == [f"mask, {WIDE}", "picture alone"]
    assert (widget.image_id, widget.layer) == ("robin_00.jpg", f"mask, {WIDE}")
    assert widget.page.count("<img") == 2
    assert "<polygon" in widget.page
    pages = set()
    for position in range(6):
        widget.position = position
        assert f"robin_0{position}.jpg" in widget.page
        pages.add(widget.page)
    assert len(pages) == 6
    assert "no mask" in widget.page, "the last image was left out of the run"
    widget.position, widget.layer = 1, "picture alone"
    assert widget.page.count("<img") == 1
    assert "http" not in widget.page


def test_what_there_is_not_is_refused(birds, tmp_path) -> None:
    widget = xvcore.leaf(birds, "robin", network=WIDE, picture_of=picture_of)
    with pytest.raises(traitlets.TraitError, match="images 0 … 5"):
        widget.position = 6
    with pytest.raises(traitlets.TraitError, match="picture alone"):
        widget.layer = "heat"
    assert (widget.position, widget.layer) == (0, f"mask, {WIDE}")
    with pytest.raises(UnknownNameError, match="known"):
        xvcore.leaf(birds, "wren")
    with pytest.raises(StoreError, match="nothing to leaf through"):
        xvcore.leaf(birds, "pending")


def test_layers_of_all_networks_and_runs_are_offered(birds, tmp_path) -> None:
    widget = xvcore.leaf(birds, "robin", picture_of=picture_of)
    assert widget.layers == [f"mask, {WIDE}", f"mask, {HOSTILE_MODEL}", "picture alone"]
    widget = xvcore.leaf(evidence_store(tmp_path / "e", LOCAL), "robin", picture_of=lambda *_: None)
    assert widget.layers == [f"evidence, {LOCAL}", "picture alone"]
    assert "not there any more" in widget.page
    widget = xvcore.leaf(units_store(tmp_path / "u"), "robin", picture_of=picture_of)
    assert widget.layers == ["picture alone"]


def test_without_anywidget_the_error_names_the_extra(birds, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "xvcore.notebook.leafing", raising=False)
    with pytest.raises(XvError, match=r"pip install 'xv\[notebook\]'"):
        xvcore.leaf(birds, "robin")


@pytest.mark.slow
def test_keys_and_buttons_leaf_in_a_browser(birds, tmp_path) -> None:
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip(f"no {CHROMIUM} and {DRIVER}")
    widget = xvcore.leaf(birds, "robin", network=WIDE, picture_of=picture_of)
    names = ("position", "layer", "layers", "page", "n_images")
    state = json.dumps({name: getattr(widget, name) for name in names}).replace("</", "<\\/")
    module = widget._esm.replace("export default { render };", "const leaf = { render };")
    page = tmp_path / "leaf.html"
    page.write_text(HOST.replace("CSS", widget._css).replace("ESM", module).replace("STATE", state))
    from browser import violations
    from selenium.webdriver.common.keys import Keys

    with chromium(Path(page).as_uri(), tmp_path) as browser:
        driver = browser.driver
        driver.get(page.as_uri())
        browser.wait(lambda: driver.execute_script("return window.ready === true"))
        assert violations(driver) == []
        root = driver.find_element("css selector", ".leaf")
        root.send_keys(Keys.ARROW_RIGHT)
        root.send_keys(Keys.ARROW_RIGHT)
        root.send_keys(Keys.ARROW_LEFT)
        assert driver.execute_script("return window.state.position") == 1
        assert "2 of 6" in root.text
        root.send_keys(Keys.END)
        root.send_keys(Keys.ARROW_RIGHT)
        assert driver.execute_script("return window.state.position") == 5
        driver.find_element("css selector", "button[aria-label='image before']").click()
        assert driver.execute_script("return window.saved.at(-1)") == [4, f"mask, {WIDE}"]
        driver.find_element("css selector", "option:last-child").click()
        assert driver.execute_script("return window.saved.at(-1)") == [4, "picture alone"]
        assert "page 4 picture alone" in root.text
