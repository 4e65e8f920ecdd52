"""Weights files: read safely, unwrapped, fitted strictly to an architecture."""

import hashlib
import io
import logging
import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xvcore.errors import WeightsError
from xvcore.models.architecture import Architecture, StateDict
from xvcore.models.lean import Undrawn

logger = logging.getLogger(__name__)

AVERAGED = (
    "state_dict_ema",
    "model_ema",
    "ema_state_dict",
    "model_ema_state_dict",
    "model_state_dict_ema",
    "ema_model",
    "ema_model_state_dict",
    "ema",
    "model_swa",
    "swa_model",
    "swa_state_dict",
)
"""Keys under which training scripts keep the running mean of the weights, by which they judge a network."""
WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which training scripts keep the state dict."""
COUNTER = "n_averaged"
"""What ``torch.optim.swa_utils.AveragedModel`` counts beside the weights."""
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
    key : under which the state dict was; empty for a bare one and for the first of :data:`WRAPPERS` in the file
    facts : what a file in our own format says of itself
    """

    path: Path
    sha256: str
    state: StateDict
    outputs: tuple[str, ...] = ()
    architecture: str | None = None
    key: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict, repr=False)


def read_checkpoint(path: Path, expected_sha256: str = "", key: str | None = None) -> Checkpoint:
    """Return the state dict of a ``torch.save`` or ``.safetensors`` file, without running any code in it.

    Our own format is ``{"state_dict": …, "xv": {"outputs": [names], "architecture": name}}``. Of several state dicts in
    a file (or each the only one in a mapping, ``{"module": …, "decay": …}``), the first of :data:`AVERAGED` is taken
    that has a tensor for each one of the first of :data:`WRAPPERS` (what a training averages is what it evaluates),
    else the latter. Such a choice is logged as a warning, and so are averages that cannot be read.

    Parameters
    ----------
    path : the file
    expected_sha256 : the hexadecimal digest that the file must have, or its first digits; empty allows any
    key : under which the state dict is; None goes by the rule

    Raises
    ------
    WeightsError
        Not such a file, another digest, no such key, or it holds other things than tensors of real numbers.
    """
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"weights {path}: cannot be read ({error})") from error
    if not sha256.startswith(expected_sha256):
        raise WeightsError(
            f"weights {path}: SHA-256 is {sha256}, expected {expected_sha256}; remove the file and retry"
        )
    content: Any = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    chosen, state = _state(path, content, key)
    outputs, architecture = _told(path, content)
    facts = content["xv"] if architecture is not None else {}
    return Checkpoint(path, sha256, state, outputs, architecture, chosen, facts)


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
    head, expected = head_axes(build, architecture.n_classes)
    state = architecture.adapt(_without_prefix(state, expected))
    sizes = {state[key].shape[axis] for key, axis in head.items() if key in state and state[key].ndim > axis}
    n_classes = sizes.pop() if len(sizes) == 1 else architecture.n_classes
    network = _quietly(build, n_classes)
    wanted: StateDict = network.state_dict()
    _check_keys(architecture.name, wanted, state, source)
    whole = [
        f"{key} ({_kind(state[key])})" for key in state if wanted[key].is_floating_point() and _is_whole(state[key])
    ]
    if whole:
        raise WeightsError(f"weights {source}: whole numbers where {architecture.name} has real ones in {_few(whole)}")
    broken = [key for key in state if state[key].is_floating_point() and not state[key].float().isfinite().all()]
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
    for key, value in network.state_dict().items():
        digest.update(key.encode())
        for part in value if isinstance(value, tuple) else (value,):  # a quantised layer packs weight and bias
            if isinstance(part, Tensor):
                values: Any = part.dequantize() if part.is_quantized else part.detach()
                digest.update(values.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
            else:
                digest.update(repr(part).encode())
    return digest.hexdigest()


def _quietly(build: Callable[[int], nn.Module], n_classes: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return build(n_classes)


def head_axes(build: Callable[[int], nn.Module], n_classes: int) -> tuple[dict[str, int], set[str]]:
    """Return the axis of each tensor that grows with the number of outputs, and the names of all tensors.

    Two networks that differ in their number of outputs only are laid out without memory and compared: no name of a
    layer need be known.
    """
    try:
        with Undrawn(), torch.device("meta"):
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


DAMAGED = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What ``torch.load``, and reading an archive, raise on files that are cut off or overwritten."""


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is refused below anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
        check_records(path)
    except pickle.UnpicklingError as error:
        found = re.search(r"WeightsUnpickler error:\s*(.+?)(?= was not an allowed|\n|$)", str(error))
        reason = found.group(1) if found else str(error).partition("\n")[0]
        raise WeightsError(
            f"weights {path}: not a file of tensors alone, or a damaged one ({reason}); save the state dict, give that"
        ) from error
    except DAMAGED as error:
        reason = str(error).partition("\n")[0] or "it ends too early"
        raise WeightsError(
            f"weights {path}: torch cannot read it, it is damaged or no such file ({type(error).__name__}: {reason})"
        ) from error
    return content


def check_records(path: Path | io.BytesIO) -> None:
    """Raise where a record of an archive is not what was written: torch reads past their checksums.

    A checksum of 0 stands for none: torch can be told to write so. Files of torch before 1.6 have none at all.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for record in archive.infolist():
            if record.CRC:
                with archive.open(record) as file:
                    while file.read(1 << 20):
                        pass


def _read_safetensors(path: Path) -> StateDict:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise WeightsError(f"weights {path} need the package safetensors: pip install safetensors") from error
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"weights {path}: safetensors cannot read it ({error})") from error


def _state(path: Path, content: Any, key: str | None) -> tuple[str, StateDict]:
    """Return the key of the state dict (see :class:`Checkpoint`), and its tensors by name."""
    if not isinstance(content, Mapping):
        raise WeightsError(f"weights {path} hold {_seen(content)}: expected a state dict, {_expected()}")
    wrapped = {each: state for each in content if isinstance(each, str) and (state := _inner(content[each]))}
    if key is not None and key not in wrapped:
        inside = f"the state dicts {', '.join(wrapped)}" if wrapped else _seen(content)
        raise WeightsError(f"weights {path} hold {inside}: no state dict state={key}")
    usual = next((each for each in WRAPPERS if each in wrapped), None)
    chosen = key or _averaged(wrapped, usual) or usual
    if chosen is None:
        if not _is_state(content):
            choice = f"; choose by state={' or state='.join(wrapped)}" if wrapped else ""
            raise WeightsError(f"weights {path} hold {_seen(content)}: expected a state dict, {_expected()}{choice}")
        return "", _checked(path, content)
    held = [each for each in AVERAGED if isinstance(content.get(each), Mapping | list | tuple) and len(content[each])]
    unread = [each for each in held if each not in wrapped and chosen not in AVERAGED]
    if unread and key is None:
        logger.warning(
            "weights %s: what averages they hold under %s cannot be read (%s); taken is %s, which is not averaged",
            path,
            " and ".join(unread),
            _seen(content[unread[0]]),
            chosen,
        )
    others = [each for each in wrapped if each != chosen and _is_complete(wrapped[each], wrapped[chosen])]
    others += [each for each in wrapped if each in AVERAGED and each not in (chosen, *others)]
    if others and key is None:
        logger.warning(
            "weights %s hold several state dicts: taken is %s (an averaged one if it is complete); choose by state=%s",
            path,
            chosen,
            " or state=".join((chosen, *others)),
        )
    return "" if chosen == usual else chosen, _checked(path, wrapped[chosen])


def _averaged(wrapped: Mapping[str, Mapping[Any, Tensor]], usual: str | None) -> str | None:
    found = (each for each in AVERAGED if each in wrapped)
    return next((each for each in found if usual is None or _is_complete(wrapped[each], wrapped[usual])), None)


def _inner(content: Any) -> Mapping[Any, Tensor]:
    """Return a state dict, or the only one among the values of a mapping, as averages stand beside their rate."""
    if _is_state(content):
        state: Mapping[Any, Tensor] = content
        return state
    found = [each for each in content.values() if _is_state(each)] if isinstance(content, Mapping) else []
    return found[0] if len(found) == 1 else {}


def _is_complete(state: Mapping[Any, Tensor], other: Mapping[Any, Tensor]) -> bool:
    """Say whether a state dict has a tensor of the same shape for each of another; scalars are counters."""
    one, wanted = (Counter(tuple(each.shape) for each in tensors.values() if each.ndim) for tensors in (state, other))
    return not wanted - one


def _is_state(content: Any) -> bool:
    return isinstance(content, Mapping) and bool(content) and all(isinstance(each, Tensor) for each in content.values())


def _seen(content: Any) -> str:
    return f"a dict of {_few(map(str, content))}" if isinstance(content, Mapping) else f"a {type(content).__name__}"


def _expected() -> str:
    return f"bare or under one of {', '.join((*WRAPPERS, *AVERAGED))}"


def _checked(path: Path, state: Mapping[Any, Tensor]) -> StateDict:
    """Return the tensors by name; refuse names that are no text, and all but dense tensors of real numbers."""
    strange = [f"{key!r} ({type(key).__name__})" for key in state if not isinstance(key, str)]
    if strange:
        raise WeightsError(f"weights {path}: names of tensors that are no text: {_few(strange)}")
    others = [f"{key} ({_kind(tensor)})" for key, tensor in state.items() if not _is_plain(tensor)]
    if others:
        raise WeightsError(f"weights {path}: expected dense tensors of real numbers, but found {_few(others)}")
    return dict(state)


_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
_WHOLE = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def _is_plain(tensor: Tensor) -> bool:
    is_dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_nested
    return is_dense and tensor.dtype in (*_DTYPES, *_WHOLE)


def _is_whole(tensor: Tensor) -> bool:
    return tensor.dtype in _WHOLE


def _kind(tensor: Tensor) -> str:
    """Return what a tensor is, in words: sparse, without values, quantised, complex, or its type."""
    kind = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_meta:
        return f"meta, without values: {kind}"
    if tensor.layout != torch.strided:
        return f"{str(tensor.layout).removeprefix('torch.')} {kind}"
    return f"nested {kind}" if tensor.is_nested else f"quantised {kind}" if tensor.is_quantized else kind


def _told(path: Path, content: Any) -> tuple[tuple[str, ...], str | None]:
    """Return the names of the outputs and of the architecture, where the file is in our own format."""
    ours = content.get("xv") if isinstance(content, Mapping) else None
    if not isinstance(ours, Mapping):
        return (), None
    outputs, architecture = ours.get("outputs") or (), ours.get("architecture")
    if not isinstance(outputs, list | tuple) or not isinstance(architecture, str | None):
        raise WeightsError(
            f"weights {path}: xv says outputs {outputs!r:.80} of architecture {architecture!r:.80}, expected a list of "
            "names and a name"
        )
    return tuple(map(str, outputs)), architecture


def _without_prefix(state: StateDict, expected: set[str]) -> StateDict:
    """Return the state dict without what wrappers put before every key, and beside them."""
    if COUNTER in state and COUNTER not in expected:
        state = {key: tensor for key, tensor in state.items() if key != COUNTER}
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in state) and not all(key.startswith(prefix) for key in expected):
            return _without_prefix({key.removeprefix(prefix): state[key] for key in state}, expected)
    return state
