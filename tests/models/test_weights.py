"""Weights files: what is accepted, what is refused, and what the message says."""

import functools
import hashlib
import http.server
import io
import pickle
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from xvcore.errors import LabelError, ParameterError, WeightsError, XvError
from xvcore.models import architectures, find, load
from xvcore.models.download import _file_name, expected_sha256, fetch
from xvcore.models.load import Address
from xvcore.models.weights import AVERAGED, read_checkpoint


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
        pytest.param("vit_b_32", marks=pytest.mark.slow),
        pytest.param("densenet121", marks=pytest.mark.slow),
        "mnasnet0_5",
        pytest.param("regnet_x_400mf", marks=pytest.mark.slow),
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


STATE = {"a.weight": torch.rand(3, 4), "b": torch.arange(3), "c": torch.rand(5).half()}


@pytest.mark.parametrize("content", [STATE, {"state_dict": STATE, "epoch": 3}], ids=["bare", "wrapped"])
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_file_cut_at_any_byte_is_refused_by_name(is_zip, content, tmp_path):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=is_zip)
    whole, path = file.getvalue(), tmp_path / "cut.pt"
    for size in range(0, len(whole), 7 if is_zip else 3):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.pt: .*\(.+\)"):
            read_checkpoint(path)
    path.write_bytes(whole)
    assert read_checkpoint(path).state.keys() == STATE.keys()


def test_weights_that_are_not_those_that_were_written_are_refused(tmp_path):
    file = io.BytesIO()
    torch.save(STATE, file)
    path, whole = tmp_path / "flipped.pt", file.getvalue()
    values = next(iter(STATE.values())).numpy().tobytes()
    at = whole.index(values)
    for place in range(at, at + len(values), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(WeightsError, match=r"flipped\.pt: .*CRC"):
            read_checkpoint(path)


def test_weights_that_were_written_without_checksums_are_taken(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "bare.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert read_checkpoint(tmp_path / "bare.pt").state.keys() == STATE.keys()


def test_a_cut_safetensors_file_is_refused_by_name(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    whole, path = safetensors.save(STATE), tmp_path / "cut.safetensors"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError, match=r"cut\.safetensors"):
            read_checkpoint(path)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(64, dtype=torch.complex64), r"features\.0\.bias \(complex64\)"),
        (torch.zeros(64, dtype=torch.complex128), "complex128"),
        (torch.zeros(64).to_sparse(), "sparse_coo float32"),
        (torch.zeros(64, device="meta"), "meta, without values"),
        (torch.zeros(64, dtype=torch.int8), r"whole numbers .* features\.0\.bias \(int8\)"),
        (torch.full((64,), 1e300, dtype=torch.float64), "NaN or infinite"),
    ],
)
def test_tensors_that_are_no_weights_are_named(tensor, words, network, save):
    state = {**network.network.state_dict(), "features.0.bias": tensor}
    for content in (state, {"state_dict": state}):
        path = save(content)
        with pytest.raises(WeightsError, match=rf"weights\.pt.*{words}"):
            load(f"squeezenet1_1@{path}")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_quantised_tensors_and_sparse_matrices_are_named(save):
    quantised = torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)
    for tensor, words in (
        (quantised, "a \\(quantised qint8"),
        (torch.eye(3).to_sparse_csr(), "a \\(sparse_csr float32"),
    ):
        with pytest.raises(WeightsError, match=words):
            read_checkpoint(save({"a": tensor, "b": torch.zeros(2)}))


@pytest.mark.parametrize("key", [3, None, ("a", "b"), b"a", 1.5, True])
def test_names_of_tensors_are_texts(key, save):
    for content in ({"a": torch.zeros(2), key: torch.zeros(2)}, {"model": {key: torch.zeros(2)}}):
        with pytest.raises(WeightsError, match=r"weights\.pt: names of tensors that are no text"):
            read_checkpoint(save(content))


@pytest.mark.parametrize("ours", [{"outputs": 5}, {"outputs": "abc"}, {"architecture": ["squeezenet1_1"]}])
def test_our_own_format_is_checked(ours, network, save):
    with pytest.raises(WeightsError, match=r"weights\.pt: xv says"):
        load(f"squeezenet1_1@{save({'state_dict': network.network.state_dict(), 'xv': ours})}")


def averaged(state):
    return {key: tensor * 0.5 if tensor.is_floating_point() else tensor for key, tensor in state.items()}


@pytest.mark.parametrize("mean_key", AVERAGED)
@pytest.mark.parametrize("raw_key", ["state_dict", "model"])
def test_of_several_state_dicts_the_averaged_is_taken_and_said(raw_key, mean_key, save, caplog):
    raw, mean = {"a": torch.ones(3), "b": torch.ones(2)}, {"a": torch.zeros(3), "b": torch.zeros(2)}
    for content in ({raw_key: raw, mean_key: mean}, {mean_key: mean, raw_key: raw, "optimizer": {"lr": 0.1}}):
        caplog.clear()
        path = save(content)
        checkpoint = read_checkpoint(path)
        assert (checkpoint.key, checkpoint.state["a"].sum()) == (mean_key, 0)
        assert f"taken is {mean_key}" in caplog.text
        assert f"state={raw_key}" in caplog.text
        caplog.clear()
        assert read_checkpoint(path, key=mean_key).key == mean_key
        chosen = read_checkpoint(path, key=raw_key)
        assert (chosen.key, chosen.state["a"].sum()) == ("", 3)
        assert not caplog.text


@pytest.mark.parametrize("inside", ["module", "state_dict"])
def test_a_state_dict_beside_its_decay_is_one(inside, save, caplog):
    raw, mean = {"a": torch.ones(3)}, {"a": torch.zeros(3)}
    checkpoint = read_checkpoint(save({"state_dict": raw, "ema": {inside: mean, "decay": 0.9, "updates": 7}}))
    assert (checkpoint.key, checkpoint.state["a"].sum()) == ("ema", 0)
    assert "taken is ema" in caplog.text
    assert read_checkpoint(save({"model": {inside: raw}, "epoch": 3})).state["a"].sum() == 3


def test_averages_that_cannot_be_read_are_said(save, caplog):
    raw = {"a": torch.ones(3)}
    checkpoint = read_checkpoint(save({"state_dict": raw, "ema": {"decay": 0.9, "shadow_params": [torch.zeros(3)]}}))
    assert checkpoint.state["a"].sum() == 3
    assert "under ema cannot be read (a dict of decay, shadow_params); taken is state_dict" in caplog.text


def test_what_is_no_other_network_is_not_taken_for_one(save, caplog):
    raw = {"a": torch.ones(3), "b": torch.ones(2)}
    for other in ({"ema": {"decay": torch.tensor(0.999)}}, {"metrics": {"loss": torch.ones(())}}, {"model_ema": None}):
        caplog.clear()
        checkpoint = read_checkpoint(save({"model": raw, **other}))
        assert checkpoint.key == ""
        assert checkpoint.state.keys() == raw.keys()
    assert not caplog.text  # of the last one
    incomplete = {"state_dict": raw, "state_dict_ema": {"a": torch.zeros(3)}}
    assert read_checkpoint(save(incomplete)).state["a"].sum() == 3
    assert "taken is state_dict" in caplog.text


def test_an_unknown_state_dict_is_refused_with_those_there_are(network, save):
    state = network.network.state_dict()
    path = save({"student": state, "teacher": averaged(state)})
    with pytest.raises(WeightsError, match="choose by state=student or state=teacher"):
        load(f"squeezenet1_1@{path}")
    teacher, student = (load(f"squeezenet1_1@{path}?state={key}") for key in ("teacher", "student"))
    assert (teacher.state, student.state) == ("teacher", "student")
    assert torch.equal(teacher.network.state_dict()["features.0.bias"], averaged(state)["features.0.bias"])
    with pytest.raises(WeightsError, match=r"hold the state dicts student, teacher: no state dict state=pupil"):
        load(f"squeezenet1_1@{path}?state=pupil")
    for spec in ("squeezenet1_1@random?state=a", "squeezenet1_1?state=a", "resnet50@IMAGENET1K_V1?state=a"):
        with pytest.raises(ParameterError, match="state"):
            load(spec)


def test_a_network_averaged_by_torch_loads(network, save):
    model = torch.optim.swa_utils.AveragedModel(network.network)
    path = save({"model": network.network.state_dict(), "model_ema": model.state_dict()})
    loaded = load(f"squeezenet1_1@{path}")
    assert loaded.state == "model_ema"
    assert torch.equal(loaded.logits(IMAGES), network.logits(IMAGES))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 torn"])
def test_a_broken_file_is_refused(content, tmp_path):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pt"):
        load(f"squeezenet1_1@{tmp_path / 'w.pt'}")


@pytest.mark.parametrize("content", [{}, [torch.zeros(2)], {"epoch": 3}, torch.zeros(3), {"a": torch.zeros(1), "b": 1}])
def test_a_file_that_is_no_state_dict_is_refused(content, save):
    with pytest.raises(WeightsError, match="expected a state dict"):
        load(f"squeezenet1_1@{save(content)}")


@pytest.fixture(scope="module")
def small():
    return load("regnet_y_400mf@random?classes=2").network.state_dict()


def test_a_file_of_versions_that_differ_is_said_to_be_of_the_default(small, save, caplog):
    path = save(small)
    default, first = (find("regnet_y_400mf").published[f"IMAGENET1K_V{number}"].preprocessing for number in (2, 1))
    assert load(f"regnet_y_400mf@{path}").preprocessing == default != first
    assert "IMAGENET1K_V2 expects (resize 232); others: IMAGENET1K_V1 (resize 256)" in caplog.text
    assert "preprocessing=NAME" in caplog.text
    caplog.clear()
    assert load(f"regnet_y_400mf@{path}?preprocessing=IMAGENET1K_V1").preprocessing == first
    assert load(f"regnet_y_400mf@{path}?preprocessing=IMAGENET1K_V2").preprocessing == default
    assert load(f"regnet_y_400mf@{path}?resize=256").preprocessing == first
    assert load("regnet_y_400mf@random?classes=2").preprocessing == default
    load(f"squeezenet1_1@{save(load('squeezenet1_1@random').network.state_dict())}")
    assert not caplog.text
    with pytest.raises(ParameterError, match="known: IMAGENET1K_V1, IMAGENET1K_V2"):
        load(f"regnet_y_400mf@{path}?preprocessing=V1")
    with pytest.raises(ParameterError, match="published weights decide by themselves"):
        load("regnet_y_400mf@IMAGENET1K_V1?preprocessing=IMAGENET1K_V2")


def test_a_published_file_is_known_by_its_digest(small, save, caplog, monkeypatch):
    path = save(small)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    known = find("regnet_y_400mf")
    first = known.published["IMAGENET1K_V1"]
    renamed = replace(first, url=f"https://download.pytorch.org/models/regnet_y_400mf-{sha256[:8]}.pth")
    mine = replace(known, published={**known.published, first.name: renamed})
    monkeypatch.setitem(architectures._entries, "regnet_y_400mf", mine)
    assert load(f"regnet_y_400mf@{path}").preprocessing == first.preprocessing
    assert not caplog.text


def test_a_timm_tag_says_what_a_file_of_it_expects(save, caplog):
    pytest.importorskip("timm")
    path = save(load("timm/resnet18@random?classes=2").network.state_dict())
    load(f"timm/resnet18@{path}")
    assert "others: a3_in1k (input 160 × 160" in caplog.text
    caplog.clear()
    tagged = load(f"timm/resnet18.a3_in1k@{path}")
    assert tagged.preprocessing == load(f"timm/resnet18@{path}?preprocessing=a3_in1k").preprocessing
    assert tagged.preprocessing.input_px == (160, 160)
    assert not caplog.text


def in_other_units(state, mean, std, scale, channels):
    """Return the weights of a SqueezeNet that takes other inputs and says the same of every picture.

    Its first convolution sees ``(x - m) / s`` of ImageNet, where ``x = (y * std + mean) / scale`` in the other order.
    """
    m, s = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    order = [2, 1, 0] if channels == "bgr" else [0, 1, 2]
    gain = std[order] / scale / s
    shift = (mean[order] / scale - m) / s
    weight = state["features.0.weight"]
    other = dict(state)
    other["features.0.weight"] = (weight * gain[:, None, None])[:, order]
    other["features.0.bias"] = state["features.0.bias"] + (weight.sum((2, 3)) @ shift)
    return other


UNITS = {
    "mean=0.5&std=0.5": ([0.5] * 3, [0.5] * 3, 1, "rgb"),
    "mean=0.1,0.2,0.3&std=0.4,0.5,0.6": ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6], 1, "rgb"),
    "channels=bgr": ([0.406, 0.456, 0.485], [0.225, 0.224, 0.229], 1, "bgr"),
    "channels=bgr&scale=255&mean=103.9,116.8,123.7&std=1": ([103.9, 116.8, 123.7], [1.0] * 3, 255, "bgr"),
    "scale=255&mean=0&std=1": ([0.0] * 3, [1.0] * 3, 255, "rgb"),
    "channels=bgr&mean=0.1,0.2,0.3&std=1": ([0.1, 0.2, 0.3], [1.0] * 3, 1, "bgr"),
    "scale=255&mean=127.5&std=127.5&channels=rgb": ([127.5] * 3, [127.5] * 3, 255, "rgb"),
}


@pytest.mark.parametrize("options", UNITS)
def test_a_network_of_other_units_says_the_same_of_every_picture(options, network, save):
    mean, std, scale, channels = UNITS[options]
    state = in_other_units(network.network.state_dict(), torch.tensor(mean), torch.tensor(std), scale, channels)
    path = save(state)
    loaded = load(f"squeezenet1_1@{path}?{options}")
    expected = network.logits(IMAGES)
    torch.testing.assert_close(loaded.logits(IMAGES), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(loaded.network(loaded.preprocessing.normalise(IMAGES)), loaded.logits(IMAGES))
    assert (load(f"squeezenet1_1@{path}").logits(IMAGES) - expected).abs().max() > 1e-3
    images = IMAGES.clone().requires_grad_()
    (seen,) = torch.autograd.grad(loaded.logits(images)[:, 0].sum(), images)
    (wanted,) = torch.autograd.grad(network.logits(images)[:, 0].sum(), images)
    assert (seen - wanted).norm() <= 0.05 * wanted.norm()  # a tie of the max-pooling may fall the other way


def test_what_an_address_does_not_say_of_the_input_stays():
    plain = load("squeezenet1_1@random?classes=2").preprocessing
    assert load("squeezenet1_1@random?classes=2&channels=rgb").preprocessing == plain
    assert load("squeezenet1_1@random?classes=2&channels=bgr").preprocessing == replace(plain, channels="bgr")
    assert load("squeezenet1_1@random?classes=2&mean=0.5").preprocessing == replace(plain, mean=(0.5,) * 3)
    found = load("squeezenet1_1@random?classes=2&interpolation=bicubic&resize=232").preprocessing
    assert found == replace(plain, interpolation="bicubic", resize_px=232)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("mean=0.5,0.5", "expected one number, or three"),
        ("mean=half", "expected one number, or three"),
        ("mean=nan", "expected one number, or three"),
        ("mean=0.1;0.2;0.3", "expected one number, or three"),
        ("std=0", "expected above 0"),
        ("std=-1", "expected above 0"),
        ("std=inf", "expected one number, or three"),
        ("mean=104,117,123", "unless scale=255 says otherwise"),
        ("mean=0&std=58", "unless scale=255 says otherwise"),
        ("scale=255", "without mean and std"),
        ("scale=255&mean=104,117,123", "without std"),
        ("scale=0&mean=0&std=1", "expected a number, above 0"),
        ("scale=nan&mean=0&std=1", "expected a number, above 0"),
        ("scale=255&mean=0.485,0.456,0.406&std=0.229,0.224,0.225", "nearly black"),
        ("scale=255&mean=300&std=1", "expected 0 … 255"),
        ("scale=255&mean=104,117,123&std=0.229,0.224,0.225", "less than one step of a pixel where white is 255"),
        ("scale=255&mean=104,117,123&std=0.017", "less than one step of a pixel where white is 255"),
        ("channels=gray", "order of channels 'gray'"),
        ("channels=BGR", "known: bgr, rgb"),
        ("interpolation=area", "unknown interpolation"),
    ],
)
def test_impossible_units_are_refused_before_a_file_is_fetched(options, words, cache):
    with pytest.raises(XvError, match=words):
        load(f"squeezenet1_1@http://127.0.0.1:1/none.pt?{options}")


DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "fragment",
    [
        "",
        "sha256=",
        f"sha256={DIGEST[:8]}",
        f"sha256={DIGEST[:63]}",
        f"sha256={DIGEST}0",
        f"sha256={DIGEST[:63]}g",
        f"sha256:{DIGEST}",
        f"sha256-{DIGEST}",
        f"SHA256={DIGEST}",
        f"sha512={DIGEST}",
        f"md5={DIGEST[:32]}",
        DIGEST,
        f" sha256={DIGEST}",
        f"sha256={DIGEST} ",
        f"sha256={DIGEST}\n",
        f"sha256=0x{DIGEST[:62]}",
        f"sha256={DIGEST}&name=a",
        f"sha256={DIGEST}#sha256={DIGEST}",
        "model",
    ],
)
def test_a_fragment_that_checks_nothing_is_refused_before_a_file_is_fetched(fragment, cache):
    with pytest.raises(WeightsError, match=r"w\.pt: fragment .* expected #sha256= and the 64 hexadecimal digits"):
        load(f"squeezenet1_1@http://127.0.0.1:1/w.pt#{fragment}")
    assert not cache.exists()


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
    with pytest.raises(WeightsError, match="expected #sha256= and the 64"):
        load(f"squeezenet1_1@{address}/model.pt#sha256={sha256[:-1]}")
    assert len(requests) == len(list(cache.iterdir())) == 1


def test_an_unreachable_url_is_named_and_leaves_no_file(server, cache):
    address, _, _ = server
    with pytest.raises(WeightsError, match=r"cannot download http://127.*/gone\.pt .*give the file instead"):
        fetch(f"{address}/gone.pt")
    with pytest.raises(WeightsError, match="known schemes"):
        fetch("ftp://example.org/w.pt")
    assert not list(cache.iterdir())


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:9/w.pt", "https://secret@host/w.pt#sha256=0"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url, cache):
    with pytest.raises(WeightsError, match="a name or password in a URL") as error:
        load(f"squeezenet1_1@{url}")
    assert "secret" not in str(error.value)


def test_what_is_no_url_is_refused_in_one_line(cache):
    with pytest.raises(WeightsError, match=r"weights http://\[x/w\.pt: "):
        load("squeezenet1_1@http://[x/w.pt")


def test_only_the_web_is_followed_and_no_more_than_the_limit(server, cache, monkeypatch):
    address, folder, _ = server
    (folder / "large.pt").write_bytes(b"x" * 101)
    goals = {"/ftp": "ftp://example.org/w.pt", "/file": "file:///etc/hostname", "/here": "/large.pt"}

    def answer(self):
        self.send_response(302)
        self.send_header("Location", goals[self.path])
        self.end_headers()

    plain = QuietHandler.do_GET
    monkeypatch.setattr(QuietHandler, "do_GET", lambda self: answer(self) if self.path in goals else plain(self))
    for path, reason in (("/ftp", "it leads from http to ftp"), ("/file", "is not allowed")):
        with pytest.raises(WeightsError, match=reason):
            fetch(address + path)
    monkeypatch.setattr("xvcore.models.download.MAX_BYTES", 100)
    with pytest.raises(WeightsError, match="it has 101 bytes, the limit is 100"):
        fetch(f"{address}/here")
    monkeypatch.setattr("xvcore.models.download.MAX_BYTES", 101)
    assert fetch(f"{address}/here").read_bytes() == b"x" * 101
    assert len(list(cache.iterdir())) == 1


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
        (f"https://example.org/w.pt#sha256={'A' * 64}", "a" * 64),
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
