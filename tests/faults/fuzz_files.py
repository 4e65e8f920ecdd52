"""Pictures and weights files that are cut off, altered, or hold other things than they should."""

import functools
import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz import Trial, mutated
from PIL import Image
from safetensors.torch import save as safetensors
from torch import Tensor

from xvcore.data import decode
from xvcore.data.decode import MAX_PIXELS
from xvcore.models import load

NETWORK = "partbirds_narrow"


def images(_folder: Path) -> Callable[[random.Random], Trial]:
    """Draw pictures of every format, mutated."""
    whole = pictures()
    data = tuple(whole.values())

    def drawn(chance: random.Random) -> Trial:
        name = chance.choice(sorted(whole))
        what, broken = mutated(chance, whole[name], data)
        upright = chance.random() < 0.5

        def do() -> str:
            picture = decode(broken, upright=upright)
            assert picture.mode == "RGB"
            assert 0 < picture.width * picture.height <= MAX_PIXELS
            assert picture.width * picture.height > 1_000_000 or _same(picture, decode(broken, upright=upright))
            return "a picture"

        return Trial(f"{name}: {what}", do)

    return drawn


def _same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


def pictures() -> dict[str, bytes]:
    """Return small files of every format that is read, in their variants."""
    generator = np.random.default_rng(0)
    smooth = Image.fromarray(generator.integers(0, 255, (6, 8, 3), np.uint8)).resize((64, 48), Image.Resampling.BICUBIC)
    deep = Image.fromarray(generator.integers(0, 65535, (20, 30), np.uint16))
    clear = smooth.convert("RGBA")
    clear.putalpha(smooth.convert("L"))
    few = smooth.convert("P", palette=Image.Palette.ADAPTIVE)
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "jpeg": (smooth, {"quality": 90}),
        "jpeg progressive": (smooth, {"progressive": True, "exif": turned}),
        "jpeg cmyk": (smooth.convert("CMYK"), {}),
        "jpeg grey": (smooth.convert("L"), {"comment": "grey"}),
        "png": (smooth, {}),
        "png clear": (clear, {}),
        "png palette": (few, {"transparency": 3}),
        "png deep": (deep, {}),
        "png bits": (smooth.convert("1"), {}),
        "gif": (few, {}),
        "gif moving": (few, {"save_all": True, "append_images": [few.rotate(90)], "duration": 40}),
        "webp": (smooth, {"exif": turned}),
        "webp lossless": (clear, {"lossless": True}),
        "webp moving": (smooth, {"save_all": True, "append_images": [smooth.rotate(90)]}),
        "tiff": (smooth, {"tiffinfo": {274: 6}}),
        "tiff lzw": (smooth, {"compression": "tiff_lzw"}),
        "tiff deflate": (clear, {"compression": "tiff_adobe_deflate"}),
        "tiff jpeg": (smooth, {"compression": "jpeg"}),
        "tiff packbits": (few, {"compression": "packbits"}),
        "tiff fax": (smooth.convert("1"), {"compression": "group4"}),
        "tiff deep": (deep, {}),
        "tiff pages": (smooth, {"save_all": True, "append_images": [smooth]}),
        "bmp": (smooth, {}),
        "bmp palette": (few, {}),
        "ppm": (smooth, {}),
    }
    found = {}
    for name, (picture, options) in kinds.items():
        file = io.BytesIO()
        picture.save(file, name.partition(" ")[0].upper(), **options)
        found[name] = file.getvalue()
    return found


def weights(folder: Path) -> Callable[[random.Random], Trial]:
    """Draw weights files: cut at any byte, altered, or of other tensors, names and wrappers."""
    network = load(f"{NETWORK}@random").network
    state = {key: tensor.detach().clone() for key, tensor in network.state_dict().items()}
    files = {
        "zip": _saved(state),
        "ours": _saved({"state_dict": state, "xv": {"outputs": [str(n) for n in range(7)], "architecture": NETWORK}}),
        "legacy": _saved(state, _use_new_zipfile_serialization=False),
        "safetensors": safetensors(state),
    }
    data = tuple(files.values())

    def drawn(chance: random.Random) -> Trial:
        kind = chance.choice(sorted(files))
        if chance.random() < 0.6:
            what, broken = mutated(chance, files[kind], data)
        else:
            what, broken = strange(chance, state)
            kind = "zip"
        path = folder / f"weights.{'safetensors' if kind == 'safetensors' else 'pt'}"
        has_checksums = kind in ("zip", "ours") and what.startswith(("flip", "bytes", "zeros", "ones", "number"))

        def do() -> str:
            path.write_bytes(broken)
            classifier = load(f"{NETWORK}@{path}")
            found = classifier.network.state_dict()
            assert all(tensor.isfinite().all() for tensor in found.values())
            is_same = all(torch.equal(tensor, state[key]) for key, tensor in found.items() if key in state)
            assert is_same or not has_checksums, "other weights than were written, in silence"
            return "the same weights" if is_same else "other weights"

        return Trial(f"{kind}: {what}", do, names=(str(path),))

    return drawn


def _saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


@functools.cache
def _kinds() -> dict[str, Callable[[Tensor], Any]]:
    """Return what a tensor may be replaced by."""
    types = (
        *(torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.complex64, torch.bool),
        *(torch.int8, torch.uint8, torch.int64),
    )
    return {
        **{str(kind): lambda tensor, kind=kind: tensor.to(kind) for kind in types},
        "sparse": lambda tensor: tensor.to_sparse(),
        "meta": lambda tensor: tensor.to("meta"),
        "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
        "nested": lambda tensor: torch.nested.nested_tensor([tensor.reshape(-1), tensor.reshape(-1)[:1]]),
        "scalar": lambda tensor: tensor.reshape(-1)[0].clone(),
        "empty": lambda tensor: tensor.reshape(-1)[:0].clone(),
        "longer": lambda tensor: torch.cat([tensor, tensor]),
        "shorter": lambda tensor: tensor[:1].clone(),
        "deeper": lambda tensor: tensor[None].clone(),
        "strided": lambda tensor: torch.stack([tensor, tensor], dim=-1)[..., 0],
        "expanded": lambda tensor: tensor.reshape(-1)[:1].expand(tensor.numel()).reshape(tensor.shape),
        "nan": lambda tensor: torch.full_like(tensor, torch.nan),
        "infinite": lambda tensor: torch.full_like(tensor, -torch.inf),
        "huge": lambda tensor: torch.full_like(tensor, 3e38),
        "parameter": torch.nn.Parameter,
        "numbers": lambda tensor: tensor.tolist(),
        "text": lambda _: "a text",
        "none": lambda _: None,
        "number": lambda _: 3,
        "mapping": lambda tensor: {"tensor": tensor},
    }


def strange(chance: random.Random, state: dict[str, Tensor]) -> tuple[str, bytes]:
    """Return a good file of other content than an architecture takes, and what that is."""
    content: Any = dict(state)
    done = []
    for _ in range(chance.randint(1, 2)):
        key = chance.choice(sorted(state))
        change = chance.choice(("kind", "kind", "kind", "lost", "renamed", "added", "prefix"))
        if change == "kind":
            name = chance.choice(sorted(_kinds()))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # nested tensors are a prototype
                content[key] = _kinds()[name](state[key])
            done.append(f"{key} {name}")
        elif change == "lost":
            content.pop(key, None)
            done.append(f"without {key}")
        elif change == "renamed":
            name = chance.choice(
                (3, None, (1, 2), "", "module." + key, key.upper(), key + "\n", "\0", 2.5, True, b"head")
            )
            if key in content:
                content[name] = content.pop(key)
            done.append(f"{key} as {name!r}")
        elif change == "added":
            content[chance.choice(("more", "n_averaged", "head.scale", "ä ö"))] = state[key]
            done.append("one more")
        else:
            prefix = chance.choice(("module.", "model.", "_orig_mod.", "module.model.", "backbone."))
            content = {prefix + name if isinstance(name, str) else name: each for name, each in content.items()}
            done.append(prefix)
    wrapper = chance.choice((None, None, "state_dict", "model", "model_ema", "weights", "list", "tuple", "twice", "xv"))
    if wrapper in ("list", "tuple"):
        content = [content] if wrapper == "list" else (content, 3)
    elif wrapper == "twice":
        content = {"state_dict": content, "state_dict_ema": dict(state), "epoch": 3}
    elif wrapper == "xv":
        said = chance.choice(
            (3, None, [], {"outputs": 3}, {"outputs": ["a"]}, {"architecture": "vgg11"}, {"outputs": "x"})
        )
        content = {"state_dict": content, "xv": said}
    elif wrapper:
        content = {wrapper: content}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f"strange: {', '.join(done)} in {wrapper}", _saved(content)
