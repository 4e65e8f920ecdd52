"""Weights files: what is accepted, what is refused, and what the message says."""

import functools
import hashlib
import http.server
import pickle
import threading
from pathlib import Path

import pytest
import torch

from xvcore.errors import LabelError, ParameterError, WeightsError
from xvcore.models import load
from xvcore.models.download import _file_name, expected_sha256, fetch
from xvcore.models.load import Address


@pytest.fixture(scope="module")
def network():
    return load("squeezenet1_1@random?classes=7")


@pytest.fixture
def save(tmp_path):
    def to_file(content, name="weights.pt"):
        path = tmp_path / name
        torch.save(content, path)
        return path

    return to_file


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "hub" / "checkpoints"


IMAGES = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))

WRAPPED = {
    "bare": lambda state: state,
    "data parallel": lambda state: {f"module.{key}": state[key] for key in state},
    "compiled trainer": lambda state: {"model": {f"model._orig_mod.{key}": state[key] for key in state}},
    "checkpoint": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
    "ours": lambda state: {"state_dict": state, "xv": {"outputs": list("abcdefg"), "architecture": "squeezenet1_1"}},
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_every_wrapper_gives_the_same_network(kind, network, save):
    path = save(WRAPPED[kind](network.network.state_dict()))
    loaded = load(f"squeezenet1_1@{path}")
    assert loaded.n_classes == 7
    assert torch.equal(loaded.logits(IMAGES), network.logits(IMAGES))
    assert loaded.weights == str(path)
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_safetensors_give_the_same_network(network, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(network.network.state_dict(), tmp_path / "w.safetensors")
    loaded = load(f"squeezenet1_1@{tmp_path / 'w.safetensors'}")
    assert torch.equal(loaded.logits(IMAGES), network.logits(IMAGES))
    (tmp_path / "w.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(WeightsError, match="safetensors cannot read it"):
        load(f"squeezenet1_1@{tmp_path / 'w.safetensors'}")


def test_half_precision_storage_computes_in_single_precision(network, save):
    path = save({key: tensor.half() for key, tensor in network.network.state_dict().items()})
    loaded = load(f"squeezenet1_1@{path}")
    assert {parameter.dtype for parameter in loaded.network.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.logits(IMAGES), network.logits(IMAGES), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v2",
        "squeezenet1_0",
        "vit_b_32",
        "densenet121",
        "mnasnet0_5",
        "regnet_x_400mf",
        "timm/test_vit",
        "timm/test_resnet",
        "timm/test_efficientnet",
        "timm/test_maxvit",
    ],
)
def test_the_file_decides_the_number_of_classes(name, save):
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    drawn = load(f"{name}@random?classes=13&seed=2")
    loaded = load(f"{name}@{save(drawn.network.state_dict())}")
    assert loaded.n_classes == drawn.n_classes == 13
    assert loaded.outputs is None
    images = torch.rand(1, 3, *drawn.preprocessing.input_px)
    assert torch.equal(loaded.logits(images), drawn.logits(images))


def test_names_in_our_own_format_become_outputs(network, save):
    path = save(WRAPPED["ours"](network.network.state_dict()))
    outputs = load(f"squeezenet1_1@{path}").outputs
    assert [output.name for output in outputs] == list("abcdefg")
    assert [output.index for output in outputs] == list(range(7))
    assert load(f"squeezenet1_1@{path}?labels=none").outputs is None


def test_our_own_format_says_which_architecture_it_is_of(network, save):
    path = save(WRAPPED["ours"](network.network.state_dict()))
    with pytest.raises(WeightsError, match="are of squeezenet1_1, not of squeezenet1_0"):
        load(f"squeezenet1_0@{path}")
    path = save({"state_dict": network.network.state_dict(), "xv": {"outputs": ["a", "b"]}})
    with pytest.raises(WeightsError, match="name 2 outputs but have 7"):
        load(f"squeezenet1_1@{path}")


def test_a_mismatch_names_missing_and_unexpected_keys_and_shapes(network, save):
    state = dict(network.network.state_dict())
    state["extra.weight"] = state.pop("features.0.bias")
    state["features.3.squeeze.bias"] = torch.zeros(5)
    with pytest.raises(WeightsError) as error:
        load(f"squeezenet1_1@{save(state)}")
    message = str(error.value)
    assert "1 missing keys: features.0.bias" in message
    assert "1 unexpected keys: extra.weight" in message
    assert "1 tensors of another shape: features.3.squeeze.bias (file 5, network 16)" in message


def test_another_networks_file_is_refused_in_a_short_message(network, save):
    with pytest.raises(
        WeightsError, match=r"do not fit resnet18: 122 missing|do not fit resnet18: \d+ missing"
    ) as error:
        load(f"resnet18@{save(network.network.state_dict())}")
    assert len(str(error.value)) < 900


def test_a_head_whose_tensors_disagree_is_refused(network, save):
    state = dict(network.network.state_dict())
    state["classifier.1.bias"] = torch.zeros(9)
    with pytest.raises(WeightsError, match="another shape: classifier"):
        load(f"squeezenet1_1@{save(state)}")


def test_weights_that_are_not_finite_are_refused(network, save):
    state = dict(network.network.state_dict())
    state["features.0.bias"] = torch.full_like(state["features.0.bias"], float("inf"))
    with pytest.raises(WeightsError, match=r"NaN or infinite values in features\.0\.bias"):
        load(f"squeezenet1_1@{save(state)}")


def test_a_file_without_batch_norm_counters_loads(save):
    drawn = load("mobilenet_v3_small@random?classes=3")
    state = {key: tensor for key, tensor in drawn.network.state_dict().items() if "num_batches" not in key}
    assert torch.equal(load(f"mobilenet_v3_small@{save(state)}").logits(IMAGES), drawn.logits(IMAGES))


def test_old_densenet_names_and_auxiliary_heads_are_translated(save):
    drawn = load("densenet121@random?classes=3")
    state = drawn.network.state_dict()
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): tensor for key, tensor in state.items()}
    assert old.keys() != state.keys()
    assert torch.equal(load(f"densenet121@{save(old)}").logits(IMAGES), drawn.logits(IMAGES))
    drawn = load("googlenet@random?classes=3")
    state = {**drawn.network.state_dict(), "aux1.conv.conv.weight": torch.zeros(3), "aux2.fc2.bias": torch.zeros(3)}
    assert torch.equal(load(f"googlenet@{save(state)}").logits(IMAGES), drawn.logits(IMAGES))


class Spy:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_file_is_not_run(tmp_path, save):
    trace = tmp_path / "it-ran"
    path = save({"state_dict": {}, "spy": Spy(trace)})
    with pytest.raises(WeightsError, match="not a file of tensors alone"):
        load(f"squeezenet1_1@{path}")
    path.write_bytes(pickle.dumps(Spy(trace), protocol=2))
    with pytest.raises(WeightsError):
        load(f"squeezenet1_1@{path}")
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 torn"])
def test_a_broken_file_is_refused(content, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pt"):
        load(f"squeezenet1_1@{tmp_path / 'w.pt'}")


@pytest.mark.parametrize("content", [{}, [torch.zeros(2)], {"epoch": 3}, torch.zeros(3), {"a": torch.zeros(1), "b": 1}])
def test_a_file_that_is_no_state_dict_is_refused(content, save):
    with pytest.raises(WeightsError, match="expected a state dict"):
        load(f"squeezenet1_1@{save(content)}")


def test_a_missing_file_is_refused_with_the_published_names():
    with pytest.raises(WeightsError, match=r"no such file, and none of IMAGENET1K_V2, IMAGENET1K_V1, random"):
        load("resnet50@/nowhere/weights.pt")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        self.server.requests.append(self.path)


@pytest.fixture
def server(tmp_path):
    """Serve ``tmp_path/site`` on the loopback interface; yields the address and the list of requests."""
    folder = tmp_path / "site"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder, running.requests
        running.shutdown()
        thread.join()


def test_a_url_is_downloaded_once_and_its_digest_checked(server, cache, network):
    address, folder, requests = server
    torch.save(network.network.state_dict(), folder / "model.pt")
    sha256 = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()
    for _ in range(2):
        loaded = load(f"squeezenet1_1@{address}/model.pt?name=mine")
        assert loaded.name == "mine"
        assert loaded.weights_sha256 == sha256
    assert len(requests) == 1
    assert load(f"squeezenet1_1@{address}/model.pt#sha256={sha256}?name=mine").weights_sha256 == sha256
    with pytest.raises(WeightsError, match="expected 0000"):
        load(f"squeezenet1_1@{address}/model.pt#sha256={'0' * 64}")
    assert len(requests) == len(list(cache.iterdir())) == 1


def test_an_unreachable_url_is_named_and_leaves_no_file(server, cache):
    address, _, _ = server
    with pytest.raises(WeightsError, match=r"cannot download http://127.*/gone\.pt .*give the file instead"):
        fetch(f"{address}/gone.pt")
    with pytest.raises(WeightsError, match="known schemes"):
        fetch("ftp://example.org/w.pt")
    assert not list(cache.iterdir())


def test_a_torn_download_leaves_no_file(cache):
    class Torn(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Torn) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            with pytest.raises(WeightsError, match="4 of 1000 bytes"):
                fetch(f"http://127.0.0.1:{running.server_port}/w.pt")
        finally:
            running.shutdown()
            thread.join()
    assert not list(cache.iterdir())


def test_published_weights_are_looked_for_in_torchs_own_cache(cache, save):
    cache.mkdir(parents=True)
    (cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match="expected b8a52dc0"):
        load("squeezenet1_1")


def test_published_timm_weights_load_as_timm_loads_them(cache):
    pytest.importorskip("timm")
    safetensors = pytest.importorskip("safetensors.torch")
    drawn = load("timm/test_resnet@random?seed=4")
    published = next(iter(drawn.architecture.published.values()))
    path = cache / _file_name(published.url)
    path.parent.mkdir(parents=True)
    safetensors.save_file(drawn.network.state_dict(), path)
    loaded = load("timm/test_resnet")
    assert loaded.weights == published.name
    assert loaded.weights_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    images = torch.rand(1, 3, *drawn.preprocessing.input_px)
    assert torch.equal(loaded.logits(images), drawn.logits(images))
    assert loaded.outputs[15].name == "robin"
    safetensors.save_file({"conv1.weight": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="does not fit timm/test_resnet"):
        load("timm/test_resnet")


@pytest.mark.parametrize(
    ("url", "digits"),
    [
        ("https://download.pytorch.org/models/resnet18-f37072fd.pth", "f37072fd"),
        ("https://example.org/resnet18-f37072fd.pth", ""),
        ("https://example.org/w.pt#sha256=ABCDEF0123456789", "abcdef0123456789"),
        ("https://example.org/w.pt#other", ""),
    ],
)
def test_a_url_may_tell_its_digest(url, digits):
    assert expected_sha256(url) == digits


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("resnet18", ("resnet18", None, {})),
        ("resnet18@IMAGENET1K_V1", ("resnet18", "IMAGENET1K_V1", {})),
        ("resnet18?name=a", ("resnet18", None, {"name": "a"})),
        (
            "timm/vit.tag@/w/a b.pt?input=225&resize=none",
            ("timm/vit.tag", "/w/a b.pt", {"input": "225", "resize": "none"}),
        ),
        ("r@https://h/f.pt?raw=true", ("r", "https://h/f.pt?raw=true", {})),
        ("r@https://h/f.pt?raw=true?name=b", ("r", "https://h/f.pt?raw=true", {"name": "b"})),
        ("r@https://u@h/f.pt?name=a%26b", ("r", "https://u@h/f.pt", {"name": "a&b"})),
        ("r@/w/x@y.pt?labels=l=1.txt", ("r", "/w/x@y.pt", {"labels": "l=1.txt"})),
    ],
)
def test_an_address_has_its_parts(spec, parts):
    address = Address.parse(spec)
    assert (address.name, address.weights, address.options) == parts


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("", "expected NAME"),
        ("@w.pt", "expected NAME"),
        ("resnet18@", "expected NAME"),
        ("resnet18?inptu=3", "did you mean input"),
        ("resnet18?input=3&input=4", "given twice"),
        ("resnet18?name=", "is empty"),
        ("resnet18@w.pt?seed=3", "belong to resnet18@random"),
        ("squeezenet1_1@random?input=big", "expected a whole number"),
        ("squeezenet1_1@random?input=0", "expected a whole number"),
        ("squeezenet1_1@random?resize=-3", "expected a whole number"),
        ("squeezenet1_1@random?classes=0", "expected a whole number"),
        ("squeezenet1_1@random?input=3", "cannot take input=3"),
    ],
)
def test_a_bad_address_is_refused(spec, message):
    with pytest.raises(ParameterError, match=message):
        load(spec)


def test_overrides_change_input_resize_and_name():
    classifier = load("squeezenet1_1@random?classes=2&input=112&name=small")
    assert classifier.name == "small"
    assert classifier.preprocessing.input_px == (112, 112)
    assert classifier.preprocessing.resize_px == 128
    assert load("squeezenet1_1@random?classes=2&input=112&resize=130").preprocessing.resize_px == 130
    assert load("squeezenet1_1@random?classes=2&resize=none").preprocessing.resize_px is None


def test_labels_of_another_length_are_refused(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(LabelError, match="name 2 outputs, but squeezenet1_1 has 3"):
        load(f"squeezenet1_1@random?classes=3&labels={tmp_path / 'labels.txt'}")
    with pytest.raises(LabelError, match="name 1000 outputs, but squeezenet1_1 has 3"):
        load("squeezenet1_1@random?classes=3&labels=imagenet")
