"""Which output stands for a class: told, or refused; never guessed."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import pytest

from xvcore.errors import LabelError
from xvcore.models import Output, load, outputs_for
from xvcore.models.labels import imagenet_outputs, known_outputs, labelled, read_labels, spellings


@dataclass(frozen=True)
class Klass:
    class_id: str
    class_name: str = ""
    wnid: str | None = None


@pytest.fixture(scope="module")
def network():
    return load("squeezenet1_1@random?classes=6")


BIRDS = labelled(
    [
        "Passerina cyanea (Indigo Bunting)",
        "Euphagus cyanocephalus (Brewer's Blackbird)",
        "Xanthocephalus xanthocephalus (Yellow-headed Blackbird)",
        "Grus grus (Crane)",
        "crane, construction machine",
        "n01558993 robin, American robin, Turdus migratorius",
    ]
)


@pytest.fixture
def birds(network):
    return replace(network, name="birds", outputs=BIRDS)


def test_names_of_cub_find_the_outputs_of_inaturalist(birds):
    classes = [
        Klass("009.Brewer_Blackbird", "Brewer Blackbird"),
        Klass("012.Yellow_headed_Blackbird", "012.Yellow_headed_Blackbird"),
        Klass("014.Indigo_Bunting", "014.Indigo_Bunting"),
    ]
    found = outputs_for(birds, classes, {})
    assert found == {"009.Brewer_Blackbird": 1, "012.Yellow_headed_Blackbird": 2, "014.Indigo_Bunting": 0}


def test_a_wordnet_id_decides_before_a_name(birds):
    assert outputs_for(birds, [Klass("x", "Crane", "n01558993")], {}) == {"x": 5}
    with pytest.raises(LabelError, match="0 outputs have the WordNet id n99999999"):
        outputs_for(birds, [Klass("x", "Indigo Bunting", "n99999999")], {})


def test_without_wordnet_ids_a_name_decides(network):
    named = replace(network, outputs=labelled(["robin", "jay", "a", "b", "c", "d"]))
    assert outputs_for(named, [Klass("n01580077", "jay", "n01580077")], {}) == {"n01580077": 1}
    with pytest.raises(LabelError, match="no output is named 'n01580077'"):
        outputs_for(named, [Klass("n01580077", "n01580077", "n01580077")], {})


@pytest.mark.parametrize(
    ("wanted", "index"),
    [("4", 4), ("n01558993", 5), ("american ROBIN", 5), ("brewer blackbird", 1), ("grus_grus", 3)],
)
def test_the_map_takes_an_index_a_wordnet_id_or_a_name(wanted, index, birds):
    assert outputs_for(birds, [Klass("c", "whatever")], {"c": wanted}) == {"c": index}
    assert outputs_for(birds, [Klass("c", "014.What_Ever")], {"what ever": wanted}) == {"c": index}


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("6", r"output 6 does not exist: there are 6"),
        ("n00000001", "0 outputs have the WordNet id"),
        ("crane", r"2 outputs are named 'crane' \(near: 3 Grus grus \(Crane\), 4 crane, construction machine\)"),
        ("Brewers Blackbrid", r"no output is named .* \(near: 1 Euphagus"),
        ("-1", "no output is named"),
    ],
)
def test_an_impossible_target_is_refused_with_what_is_near(wanted, message, birds):
    with pytest.raises(LabelError, match=message):
        outputs_for(birds, [Klass("c")], {"c": wanted})


def test_a_class_that_cannot_be_told_is_refused_with_what_is_near_and_a_way_out(birds):
    with pytest.raises(LabelError) as error:
        outputs_for(birds, [Klass("010", "Rusty Blackbird"), Klass("014", "Indigo Bunting")], {})
    message = str(error.value)
    assert "which output of birds stands for 1 of 2 classes: 010 (Rusty Blackbird)" in message
    assert "Brewer's Blackbird" in message
    assert "CLASS=OUTPUT" in message
    assert "birds?labels=FILE" in message


def test_outputs_without_names_need_an_index(network):
    unnamed = replace(network, outputs=None)
    assert outputs_for(unnamed, [Klass("robin", "robin")], {"robin": "3"}) == {"robin": 3}
    with pytest.raises(LabelError, match="it is not known what the outputs stand for"):
        outputs_for(unnamed, [Klass("robin", "robin")], {})
    with pytest.raises(LabelError, match="give an index"):
        outputs_for(unnamed, [Klass("robin", "robin")], {"robin": "robin"})


@pytest.mark.parametrize(
    ("names", "ambiguous"),
    [
        (["crane", "crane"], "crane"),
        (["crane", "crane, a bird"], "crane"),
        (["Grus grus (crane)", "crane"], "crane"),
        (["Cardigan", "cardigan"], "cardigan"),
        (["café", "Cafe"], "cafe"),
        (["jack-o'-lantern", "jack o' lantern"], "jack_o_lantern"),
        (["1.crane", "2.crane"], "crane"),
        (["maillot", "maillot tank suit"], "maillot"),
        (["crane bird", "crane"], "Crane"),
    ],
)
@pytest.mark.parametrize("is_turned", [False, True])
def test_a_name_of_two_outputs_is_nobodys(names, ambiguous, is_turned, network):
    labels = [*(reversed(names) if is_turned else names), "a", "b", "c", "d"]
    named = replace(network, outputs=labelled(labels))
    for classes, class_map in (([Klass("x", ambiguous)], {}), ([Klass("x")], {"x": ambiguous})):
        with pytest.raises(LabelError, match="2 outputs are named"):
            outputs_for(named, classes, class_map)
    assert outputs_for(named, [Klass("x", ambiguous)], {"x": "1"}) == {"x": 1}


def test_the_whole_list_of_synonyms_of_an_output_is_its_name(birds):
    found = outputs_for(birds, [Klass("a", "crane, construction machine"), Klass("b", "Grus grus (Crane)")], {})
    assert found == {"a": 4, "b": 3}


def test_imagenet_without_wordnet_ids_refuses_what_the_ids_tell_apart(network):
    names = [output.name for output in imagenet_outputs()]
    named = replace(network, outputs=labelled(names), n_classes=1000)
    refused = []
    for output in imagenet_outputs():
        try:
            assert outputs_for(named, [Klass("x", output.name)], {}) == {"x": output.index}
        except LabelError:
            refused.append(output.name)
    assert refused == ["Cardigan", "cardigan", "crane", "maillot"]


def test_two_classes_on_one_output_must_be_meant(birds):
    classes = [Klass("a", "Indigo Bunting"), Klass("b", "Passerina cyanea")]
    with pytest.raises(LabelError, match="several classes fall on one output"):
        outputs_for(birds, classes, {})
    assert outputs_for(birds, classes, {"a": "0", "b": "0"}) == {"a": 0, "b": 0}


def test_a_map_of_other_classes_is_passed_over_but_named_when_a_class_is_refused(birds):
    assert outputs_for(birds, [Klass("a", "Indigo Bunting")], {"b": "1"}) == {"a": 0}
    with pytest.raises(LabelError, match="the class map speaks of other classes: Rusty_Blackbrid"):
        outputs_for(birds, [Klass("010", "Rusty Blackbird")], {"Rusty_Blackbrid": "1"})


def test_a_name_of_two_classes_cannot_be_mapped(birds):
    with pytest.raises(LabelError, match=r"'crane' names 2 classes \(a, b\)"):
        outputs_for(birds, [Klass("a", "Crane"), Klass("b", "001.crane")], {"crane": "3"})


def test_all_classes_at_once_are_told_as_each_alone_and_in_no_more_than_linear_time(network):
    named = replace(network, outputs=imagenet_outputs(), n_classes=1000)
    classes = [Klass(f"c{place}", output.name, output.wnid) for place, output in enumerate(imagenet_outputs())]
    classes += [Klass("nothing", "no such thing"), Klass("mapped", "no such thing either"), Klass("again", "robin")]
    class_map = {"mapped": "17", **{f"c{place}": str(999 - place) for place in range(500)}}
    started = time.process_time()
    together = known_outputs(named, classes, class_map)
    assert time.process_time() - started < 5  # a class at a time took minutes
    assert list(together) == [each.class_id for each in classes if each.class_id != "nothing"]
    for each in (*classes[::100], *classes[-3:]):
        if each.class_id in together:
            assert outputs_for(named, [each], class_map) == {each.class_id: together[each.class_id]}
    with pytest.raises(LabelError, match="no output is named 'no such thing'"):
        outputs_for(named, [classes[-3]], class_map)


def test_a_refusal_of_many_classes_is_short_and_quick(network):
    named = replace(network, outputs=imagenet_outputs(), n_classes=1000)
    with pytest.raises(LabelError, match=r"for 300 of 300 classes.*… and 295 more") as error:
        outputs_for(named, [Klass(f"c{index}", f"nonsense {index} thing") for index in range(300)], {})
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("014.Indigo_Bunting", {"indigo bunting"}),
        (
            "Passerina cyanea (Indigo Bunting)",
            {"passerina cyanea indigo bunting", "passerina cyanea", "indigo bunting"},
        ),
        ("Brewer's Blackbird", {"brewer blackbird"}),
        ("robin, American robin", {"robin american robin", "robin", "american robin"}),
        ("Café_au-lait", {"cafe au lait"}),
        ("2. Bundesliga", {"bundesliga"}),
        ("  ", set()),
    ],
)
def test_names_are_compared_in_their_plain_forms(text, forms):
    assert spellings(text) == forms


FORMS = {
    "index wnid name": "0 n01440764 tench\n1 n01443537 gold fish\n",
    "wnid name": "n01440764 tench\nn01443537 gold fish\n",
    "wnid name, indexed from one": "1 n01440764 tench\n2 n01443537 gold fish",
    "class index": json.dumps({"0": ["n01440764", "tench"], "1": ["n01443537", "gold fish"]}),
    "out of order": "1 n01443537 gold fish\n0 n01440764 tench\n",
    "class to index": json.dumps({"n01443537 gold fish": 1, "n01440764 tench": 0}),
    "configuration": json.dumps({"id2label": {"1": "n01443537 gold fish", "0": "n01440764 tench"}, "n_layers": 3}),
    "configuration to index": json.dumps({"label2id": {"n01440764 tench": 0, "n01443537 gold fish": 1}}),
    "wrapped": json.dumps({"class_to_idx": {"n01440764 tench": 0, "n01443537 gold fish": 1}}),
    "table": "id,wnid,name\n0,n01440764,tench\n1,n01443537,gold fish\n",
    "table of a European": "name;index;wnid\ngold fish;1;n01443537\ntench;0;n01440764\n",
}
TABLES = {
    "header": 'index,name\n0,tench\n1,"3 Bundesliga, men"\n',
    "header, out of order": 'Class Name,Class Index\n"3 Bundesliga, men",1\ntench,0\n',
    "header, index called label": 'label,class\n0,tench\n1,"3 Bundesliga, men"\n',
    "header, index called class": 'class,label\n0,tench\n1,"3 Bundesliga, men"\n',
    "header, no index": "species\ttaxon_rank\tname\n-\t-\ttench\n-\t-\t3 Bundesliga, men\n",
    "header, one name": 'name\ntench\n"3 Bundesliga, men"\n',
    "header, names called otherwise": 'idx,species\n0,tench\n1,"3 Bundesliga, men"\n',
    "no header": '0,tench\n1,"3 Bundesliga, men"\n',
    "no header, names first": 'tench,0\n"3 Bundesliga, men",1\n',
    "no header, counted from one": '"3 Bundesliga, men",2\ntench,1\n',
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_labels_file_says_the_same(form, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(FORMS[form], encoding="utf-8")
    assert read_labels(path) == (Output(0, "n01440764", "tench"), Output(1, "n01443537", "gold fish"))


YAMLS = {
    "list": "names:\n  - tench\n  - 'no'\n",
    "list of plain words": "[tench, no]\n",
    "index to name": "path: /data\nnames:\n  1: no\n  0: tench\n",
    "name to index": "no: 1\ntench: 0\n",
    "configuration": "id2label: {0: tench, 1: no}\nn_layers: 3\n",
}


@pytest.mark.parametrize("form", YAMLS)
def test_a_name_in_yaml_is_text(form, tmp_path):
    path = tmp_path / "data.yaml"
    path.write_text(YAMLS[form], encoding="utf-8")
    assert read_labels(path) == (Output(0, None, "tench"), Output(1, None, "no"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: 5\n", "indices"),
        ("tench\n", "found 'tench'"),
        ("a: 0\na: 1\n", "'a' is there twice"),
        ("{a: 0", "expected a list of names"),
        ("? [a]\n: 0\n", "expected a list of names"),
        ("names: [a, [b, [c]]]\n", "expected a list of names"),
        ("a: x\nb: y\n", "index to name"),
        ("", "expected a list of names"),
    ],
)
def test_yaml_that_is_no_list_of_labels_is_refused(text, message, tmp_path):
    path = tmp_path / "data.yml"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_labels(path)


@pytest.mark.parametrize(
    "text",
    [
        'item {\n  id: 1\n  name: "n01440764"\n  display_name: "tench"\n}\nitem {\n  id: 2\n  name: "n01443537"\n'
        '  display_name: "gold {fish}"\n}\n',
        "# two\nitem { name: 'n01443537' id: 2 display_name: 'gold {fish}' } item: { id: 1 name: 'n01440764 tench' }",
    ],
)
def test_a_label_map_is_read_by_its_ids(text, tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(text)
    assert read_labels(path) == (Output(0, "n01440764", "tench"), Output(1, "n01443537", "gold {fish}"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected items"),
        ("item { id: 1 }", "item 1 of a label map needs an id and a name"),
        ("item { name: 'a' }", "item 1 of a label map needs an id and a name"),
        ("item { id: 1 name: 'a' } node { id: 2 }", "found 'node"),
        ("item { id: 1 name: 'a' } item { id: 1 name: 'b' }", "indices"),
        ("item { id: 1 name: 'a", "expected items"),
    ],
)
def test_a_label_map_that_is_none_is_refused(text, message, tmp_path):
    path = tmp_path / "label_map.pbtxt"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_labels(path)


@pytest.mark.parametrize("form", TABLES)
def test_every_form_of_a_table_says_the_same(form, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(TABLES[form], encoding="utf-8")
    assert read_labels(path) == (Output(0, None, "tench"), Output(1, None, "3 Bundesliga, men"))


def test_signs_of_maps_and_lists_stay_in_a_name(tmp_path):
    path = tmp_path / "class_to_idx.json"
    path.write_text(json.dumps({"a, b": 1, "c=d": 0, "7": 2}))
    assert [output.name for output in read_labels(path)] == ["c=d", "a, b", "7"]


def test_a_list_of_synonyms_is_no_table(tmp_path):
    text = "pillow, label, class\ntench, Tinca tinca\ngoldfish\n"
    (tmp_path / "labels.txt").write_text(text)
    assert [output.name for output in read_labels(tmp_path / "labels.txt")][1:] == ["tench, Tinca tinca", "goldfish"]
    (tmp_path / "labels.csv").write_text(text.partition("\n")[2])
    assert [output.name for output in read_labels(tmp_path / "labels.csv")] == ["tench, Tinca tinca", "goldfish"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index,name\n0,tench\n1\n", "row 3 has 1 cells, its header 2"),
        ("index,name\n", "a header without rows"),
        ("index\n0\n1\n", "none of the columns index has the names"),
        ("index,name\n0,tench\n0,goldfish\n", "the indices are not"),
        ("index,name\n0,tench\n1,\n", "output 1 has an empty name"),
        ("what,ever\n0,tench\n", "cannot be told which has the names"),
    ],
)
def test_a_table_that_cannot_be_told_is_refused(text, message, tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_labels(path)


@pytest.mark.parametrize(
    "text", ["tench\n3 Bundesliga", "0 tench\n1 3 Bundesliga", "1,tench\n2,3 Bundesliga", '["tench", "3 Bundesliga"]']
)
def test_names_alone_or_with_an_index(text, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    assert read_labels(path) == (Output(0, None, "tench"), Output(1, None, "3 Bundesliga"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 is empty"),
        ("a\n\nb", "line 2 is empty"),
        ("0 a\n0 b", "indices"),
        ("0 a\n2 b", "indices"),
        ("5 a\n6 b", "indices"),
        ('{"a": "b"}', "index to"),
        ("[1, 2]", "expected a list of names"),
        ("{", "expected a list of names"),
        ('{"a": 0, "b": 0}', "indices"),
        ('{"a": 0, "a": 1}', "'a' is there twice"),
        ('{"a": 0.0, "b": 1.5}', r"name to index.*found 'a': 0\.0"),
        ('{"a": true, "b": 0}', "found 'a': True"),
        ('{"hidden_size": 768, "id2label": {"0": 3}}', "indices"),
        ('{"0": ["n01440764", 3]}', "index to name"),
        ('["a", ""]', "output 1 has an empty name"),
        ("ImageId,PredictionString\nx,y", "header"),
    ],
)
def test_a_file_that_is_no_list_of_labels_is_refused(text, message, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_labels(path)


def test_a_missing_labels_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match="cannot be read"):
        read_labels(tmp_path / "none.txt")


def test_imagenet_names_are_torchvisions_and_its_ids_timms():
    outputs = imagenet_outputs()
    assert len(outputs) == 1000
    assert outputs[15].name == "robin"
    pytest.importorskip("timm")
    assert outputs[15].wnid == "n01558993"
    assert [output.wnid for output in outputs] == sorted(output.wnid for output in outputs)


def test_imagenet_is_known_without_timm(monkeypatch):
    imagenet_outputs.cache_clear()
    for name in ("timm", "timm.data", "timm.data.imagenet_info"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    try:
        outputs = imagenet_outputs()
        assert {output.wnid for output in outputs} == {None}
        classifier = replace(load("squeezenet1_1@random"), outputs=outputs)
        with pytest.raises(LabelError, match="their WordNet ids are not known"):
            outputs_for(classifier, [Klass("c")], {"c": "n01558993"})
    finally:
        imagenet_outputs.cache_clear()


@pytest.mark.slow
def test_word_net_ids_are_timms_whose_import_is_spared() -> None:
    info = pytest.importorskip("timm.data.imagenet_info").ImageNetInfo("imagenet-1k")
    assert [output.wnid for output in imagenet_outputs()] == list(info.label_names())
    code = "import sys, xvcore.models as m; m.architectures['bagnet9']; assert 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
