"""What commands load: reading tables takes neither torch nor Prefect, a family not what only others need."""

import json
import subprocess
import sys

import pytest

from xvcore.store import Store

HEAVY = ("torch", "torchvision", "timm", "prefect", "scipy", "matplotlib")
RUN = """
import sys
from flows.cli import main
sys.argv[0] = "xv"
try:
    main()
finally:
    print("loaded:", *sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    opened = Store(tmp_path_factory.mktemp("start"))
    opened.write("predictions", "r", "c", [])
    return opened


@pytest.mark.parametrize("words", [("status",), ("query", "select count(*) from predictions"), ("figures",)])
def test_commands_that_read_tables_start_without_networks_and_flows(store, words, tmp_path):
    command = [sys.executable, "-c", RUN.format(heavy=set(HEAVY)), *words, "--store", store.url]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].split() == ["loaded:"]


LOADED = "print(*sorted({loaded} & sys.modules.keys()))"
OTHERS = ("prefect", "torch._dynamo", "sklearn", "scipy.stats", "timm", "xvcore.comparison.pipeline")


@pytest.mark.parametrize(
    ("command", "network"), [("evidence", "partbirds_bagnet17"), ("units", "partbirds_narrow")], ids=str
)
def test_a_family_is_run_without_what_only_others_need(tmp_path, command, network):
    words = ["--dataset", "partbirds?classes=2&images=1", "--class-map", "plain=0", "--classes", "plain"]
    words += ["--model", f"{network}@random?classes=3", "--device", "cpu", "--store", str(tmp_path / "store")]
    program = [sys.executable, "-c", RUN.format(heavy=set(OTHERS)), command, *words]
    done = subprocess.run(program, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].split() == ["loaded:"]


def test_visual_summaries_begin_without_what_only_their_last_stages_need(tmp_path):
    program = "import sys, flows.families.summarise; " + LOADED.format(loaded=set(OTHERS) | {"scipy.sparse"})
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == []


def test_filters_are_seen_without_the_compiler():
    program = (
        "import sys, torch; from xvcore.models import load; from xvcore.ops.feature_layers import feature_layers; "
        "print(len(feature_layers(load('partbirds_narrow@random?classes=3').network, torch.zeros(1, 3, 128, 128)))); "
    )
    program += LOADED.format(loaded=set(OTHERS) | {"sympy"})
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    n_layers, *loaded = done.stdout.split()
    assert int(n_layers) > 1
    assert loaded == []


def test_classes_of_imagenet_are_named_as_timm_does_without_importing_it(tmp_path):
    info = pytest.importorskip("timm.data").ImageNetInfo("imagenet-1k")
    wnids = info.label_names()[::100]
    for wnid in wnids:
        (tmp_path / "train" / wnid).mkdir(parents=True)
        (tmp_path / "train" / wnid / "1.JPEG").touch()
    program = (
        "import json, sys; from xvcore.data import open_dataset; "
        f"found = open_dataset('imagenet:{tmp_path}?split=train').classes; "
        "print(json.dumps({info.class_id: info.class_name for info in found})); "
    )
    program += LOADED.format(loaded=set(OTHERS))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names, loaded = done.stdout.splitlines()
    assert json.loads(names) == {each: info.label_name_to_description(each).split(",")[0] for each in wnids}
    assert loaded == ""
