"""Weights files: read safely, unwrapped, fitted strictly to an architecture."""

import hashlib
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xvcore.errors import WeightsError
from xvcore.models.architecture import Architecture, StateDict

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which training scripts keep the state dict."""
PREFIXES = ("module.", "model.", "network.", "_orig_mod.")
"""What data-parallel wrappers, trainers and ``torch.compile`` put before every key."""


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds.

    Parameters
    ----------
    path : the file
    sha256 : of the file, hexadecimal
    state : its tensors by name, as stored (float16 stays float16)
    outputs : name of each output, where the file says so itself (our own format)
    architecture : name of the architecture, where the file says so itself
    """

    path: Path
    sha256: str
    state: StateDict
    outputs: tuple[str, ...] = ()
    architecture: str | None = None


def read_checkpoint(path: Path, expected_sha256: str = "") -> Checkpoint:
    """Return the state dict of a ``torch.save`` or ``.safetensors`` file, without running any code in it.

    Our own format is ``{"state_dict": …, "xv": {"outputs": [names], "architecture": name}}``.

    Parameters
    ----------
    path : the file
    expected_sha256 : the hexadecimal digest that the file must have, or its first digits; empty allows any

    Raises
    ------
    WeightsError
        Not such a file, another digest, or it holds other things than tensors.
    """
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if not sha256.startswith(expected_sha256):
        raise WeightsError(
            f"weights {path}: SHA-256 is {sha256}, expected {expected_sha256}; remove the file and retry"
        )
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    state = _state(path, content)
    ours = content.get("xv")
    ours = ours if isinstance(ours, Mapping) else {}
    return Checkpoint(path, sha256, state, tuple(map(str, ours.get("outputs") or ())), ours.get("architecture"))


def fit(
    architecture: Architecture, build: Callable[[int], nn.Module], state: StateDict, source: str
) -> tuple[nn.Module, int]:
    """Return the network with these weights, in float32, and its number of outputs, which the state dict decides.

    Parameters
    ----------
    architecture : says how to translate old key names
    build : number of outputs to network
    state : tensors by name
    source : where they are from, for messages

    Raises
    ------
    WeightsError
        Missing or unexpected keys, other shapes, NaN or infinite weights.
    """
    head, expected = _head(build, architecture.n_classes)
    state = architecture.adapt(_without_prefix(state, expected))
    sizes = {state[key].shape[axis] for key, axis in head.items() if key in state and state[key].ndim > axis}
    n_classes = sizes.pop() if len(sizes) == 1 else architecture.n_classes
    network = _quietly(build, n_classes)
    wanted: StateDict = network.state_dict()
    _check_keys(architecture.name, wanted, state, source)
    broken = [key for key in state if state[key].is_floating_point() and not state[key].isfinite().all()]
    if broken:
        raise WeightsError(f"weights {source}: NaN or infinite values in {_few(broken)}")
    complete = OrderedDict((key, state.get(key, wanted[key])) for key in wanted)
    # The version of each module's layout, without which some networks refuse a bare state dict.
    complete._metadata = getattr(wanted, "_metadata", {})  # type: ignore[attr-defined]
    network.load_state_dict(complete)
    return network.float(), n_classes


def draw(build: Callable[[int], nn.Module], n_classes: int, seed: int) -> nn.Module:
    """Return a network with the random weights of this seed; torch's global generator is left as it was.

    Weights that an architecture starts at zero (the head of a ViT) are drawn too, or the logits of all images would be
    equal and their gradients zero.
    """

    def drawn(n_classes: int) -> nn.Module:
        network = build(n_classes)
        for weight in network.parameters():
            if weight.ndim > 1 and not weight.any():
                nn.init.normal_(weight, std=0.02)
        return network

    return seeded(drawn, n_classes, seed)


def seeded(build: Callable[[int], nn.Module], n_classes: int, seed: int) -> nn.Module:
    """Return what ``build`` returns when torch's global generator starts at a seed; it is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return build(n_classes)


def sha256_of(network: nn.Module) -> str:
    """Return the hexadecimal SHA-256 of the names and values of a network's tensors, for weights without a file."""
    digest = hashlib.sha256()
    for key, tensor in network.state_dict().items():
        digest.update(key.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _quietly(build: Callable[[int], nn.Module], n_classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return build(n_classes)


def _head(build: Callable[[int], nn.Module], n_classes: int) -> tuple[dict[str, int], set[str]]:
    """Return the axis of each tensor that grows with the number of outputs, and the names of all tensors.

    Two networks that differ in their number of outputs only are laid out without memory and compared: no name of a
    layer need be known.
    """
    try:
        with torch.device("meta"):
            one, other = (_quietly(build, count).state_dict() for count in (n_classes, n_classes + 1))
    except (NotImplementedError, RuntimeError):  # RegNet computes its widths with tensors
        one, other = (_quietly(build, count).state_dict() for count in (n_classes, n_classes + 1))
    axes = {}
    for key, tensor in one.items():
        for axis, (smaller, larger) in enumerate(zip(tensor.shape, other[key].shape, strict=True)):
            if smaller != larger:
                axes[key] = axis
    return axes, set(one)


def _check_keys(name: str, wanted: StateDict, state: StateDict, source: str) -> None:
    # The counter of batch norm plays no part in eval mode, and old or converted files lack it.
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in wanted]
    shapes = [
        f"{key} (file {_size(state[key])}, network {_size(wanted[key])})"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    problems = [("missing keys", missing), ("unexpected keys", unexpected), ("tensors of another shape", shapes)]
    found = [f"{len(keys)} {what}: {_few(keys)}" for what, keys in problems if keys]
    if found:
        raise WeightsError(f"weights {source} do not fit {name}: {'; '.join(found)}")


def _few(keys: Iterable[str], shown: int = 4) -> str:
    keys = list(keys)
    return ", ".join(keys[:shown]) + (f", … ({len(keys) - shown} more)" if len(keys) > shown else "")


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"weights {path}: not a file of tensors alone; save the state dict and give that") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(f"weights {path}: torch cannot read it ({error})") from error


def _read_safetensors(path: Path) -> StateDict:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise WeightsError(f"weights {path} need the package safetensors: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"weights {path}: safetensors cannot read it ({error})") from error


def _state(path: Path, content: Any) -> StateDict:
    """Return the mapping of names to tensors, from under the wrapper if there is one."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), content)
        if inner and all(isinstance(value, Tensor) for value in inner.values()):
            return dict(inner)
        seen = f"a dict of {_few(map(str, content))}"
    else:
        seen = f"a {type(content).__name__}"
    raise WeightsError(f"weights {path} hold {seen}: expected a state dict, bare or under one of {', '.join(WRAPPERS)}")


def _without_prefix(state: StateDict, expected: set[str]) -> StateDict:
    """Return the state dict without what wrappers put before every key."""
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state) and not all(key.startswith(prefix) for key in expected):
            return _without_prefix({key.removeprefix(prefix): state[key] for key in state}, expected)
    return state
