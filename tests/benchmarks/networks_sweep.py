"""What every torchvision classifier and one small network of each of timm's families goes through, counted.

Command: ``PYTHONPATH=. python tests/benchmarks/networks_sweep.py [--families N] [--only NAME …]``, half an hour on one
core. Weights are random, images too; a network gets small images where it takes them, its own size else. Networks of
more than 120 million parameters are left out and counted as such. Nothing is downloaded.

Five questions, each asked of the plain libraries as well:

preprocessing
    the pixels of a picture after the resize, the crop and the normalisation, against the library's own transform of all
    published weights (largest difference 1e-5)
units
    the maxima of all units of all layers over two images, against plain forward hooks (equal bits)
layout
    the scores of pictures whose colours lie side by side, against those of the usual ones (1e-4 of their range)
evidence
    its mean over the positions against the logit (1e-4 of the largest value), or what its refusal says
deconvnet
    accepted, or refused for a reason that is compared with the kinds of modules that the network holds

A refusal is an answer of its own; whatever else is raised, or differs, is a *fault*, and the exit status is 1.
"""

import argparse
import gc
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from xvcore.errors import ParameterError, XvError
from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.models import Classifier, find, laid_out
from xvcore.models.torchvision import names as torchvision_names
from xvcore.runs.fits import n_parameters, small
from xvcore.units.method.deconvnet import Deconvnet
from xvcore.units.method.top_activations import TopActivations

MAX_PARAMETERS = 120_000_000
N_FAMILIES = 130
SIZES = ("test", "atto", "femto", "pico", "zepto", "nano", "xxs", "xxt", "xs", "tiny", "mini", "small", "050", "s", "t")
"""Words by which timm's names tell small networks, smallest first."""
KINDS = {
    "smooth": r"gelu|silu|swish|mish|^elu$|selu|celu|prelu|leakyrelu|softplus|evonorm|star",
    "rectifier": r"^relu6?$|relu$|filterresponsenormtlu",
    "max_pool": r"maxpool",
}
"""What the class of a module is called that is of a kind, in small letters."""


@dataclass(frozen=True)
class Answer:
    """What came of one question about one network."""

    question: str
    outcome: str
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        return self.outcome.startswith("FAULT")


def timm_names(n: int = N_FAMILIES) -> list[str]:
    """Return the addresses of one small network of each family: what a module of timm's defines under one word."""
    import timm

    families: dict[tuple[str, str], list[str]] = defaultdict(list)
    for module in timm.list_modules():
        for name in timm.list_models(module=module):
            families[module, re.match(r"[a-z]+", name).group()].append(name)
    chosen = {family: min(names, key=_size) for family, names in families.items()}
    seen: set[str] = set()
    firsts = [family for family in chosen if not (family[0] in seen or seen.add(family[0]))]
    rest = [family for family in chosen if family not in firsts]
    return [f"timm/{chosen[family]}" for family in [*firsts, *rest][:n]]


def _size(name: str) -> tuple[int, int, int, str]:
    """Return what sorts the names of one family by their likely size."""
    words = re.split(r"[_\d]+", name)
    rank = min((SIZES.index(word) for word in words if word in SIZES), default=len(SIZES))
    numbers = [int(each) for each in re.findall(r"\d+", name)]
    return rank, max(numbers, default=0), len(name), name


def asked(name: str) -> Iterator[Answer]:
    """Yield the answers of one network."""
    try:
        find(name)
    except (ParameterError, XvError) as error:
        yield Answer("load", "refused", str(error))
        return
    n = n_parameters(name)
    if n > MAX_PARAMETERS:
        yield Answer("load", "left out: too large", f"{n / 1e6:.0f} million parameters")
        return
    classifier = small(name)
    yield Answer("load", "loaded", " × ".join(map(str, classifier.preprocessing.input_px)))
    for question, answer in QUESTIONS.items():
        yield guarded(question, answer, name, classifier)


def guarded(
    question: str, answer: Callable[[str, Classifier], tuple[str, str]], name: str, classifier: Classifier
) -> Answer:
    """Return an answer; a fault where anything is raised that the question does not expect."""
    try:
        return Answer(question, *answer(name, classifier))
    except Exception as error:  # noqa: BLE001  the sweep goes on, and counts it
        return Answer(question, "FAULT: raised", f"{type(error).__name__}: {error}")


def images_of(classifier: Classifier, n: int = 2) -> Tensor:
    """Return noise as stages look at it."""
    noise = torch.rand(n, 3, *classifier.preprocessing.input_px, generator=torch.Generator().manual_seed(1))
    return laid_out(classifier, noise)


def picture() -> Image.Image:
    generator = np.random.default_rng(0)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 11, 3), dtype=np.uint8)).resize((500, 375))
    noisy = np.asarray(coarse, dtype=int) + generator.integers(-40, 40, (375, 500, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def preprocessing(name: str, _classifier: Classifier) -> tuple[str, str]:
    """Compare pixels with the library's own transforms."""
    image, largest, n = picture(), 0.0, 0
    for ours, theirs in transforms(name):
        seen, expected = ours.normalise(ours.pixels(image)[None])[0], theirs(image)
        if expected.shape != seen.shape:
            return "FAULT: differs", f"{tuple(seen.shape)} for {tuple(expected.shape)}"
        largest, n = max(largest, float((seen - expected).abs().max())), n + 1
    if not n:
        return "no published transform", ""
    return ("the library's own" if largest <= 1e-5 else "FAULT: differs"), f"{n} versions, {largest:.1e}"


def transforms(name: str) -> Iterator[tuple[object, Callable[[Image.Image], Tensor]]]:
    """Yield the preprocessing and the library's transform of each published version."""
    architecture = find(name)
    if name.startswith("timm/"):
        import timm
        from timm.data import create_transform, resolve_data_config

        plain = name.removeprefix("timm/")
        for configuration in timm.models.get_arch_pretrained_cfgs(plain).values():
            known = architecture.published.get(configuration.tag)
            if known is not None:
                config = resolve_data_config(pretrained_cfg=configuration.to_dict())
                yield known.preprocessing, create_transform(**config, is_training=False)
        return
    from torchvision.models import get_model_weights

    for weights in get_model_weights(name):
        known = architecture.published.get(weights.name)
        if known is not None:
            yield known.preprocessing, _official(name, weights.transforms())


def _official(name: str, transform: Callable[[Image.Image], Tensor]) -> Callable[[Image.Image], Tensor]:
    if name not in ("googlenet", "inception_v3"):
        return transform
    # torchvision converts to [-1, 1] inside these networks, we do it outside
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
    return lambda image: (transform(image) * std + mean - 0.5) / 0.5


def layout(_name: str, classifier: Classifier) -> tuple[str, str]:
    """Compare what the network says of pictures whose colours lie side by side with what it says of the usual ones."""
    images = images_of(classifier)
    if images.is_contiguous():
        return "kept as usual", ""
    with torch.no_grad():
        found, usual = classifier.logits(images), classifier.logits(images.contiguous())
    difference = float((found - usual).abs().max() / (usual.amax() - usual.amin()))
    return ("the same" if difference <= 1e-4 else "FAULT: differs"), f"{difference:.1e} of their range"


def units(_name: str, classifier: Classifier) -> tuple[str, str]:
    """Compare the maxima of all units with those of plain hooks."""
    summary, images = TopActivations(kept=2), images_of(classifier)
    try:
        before = summary.empty(classifier)
    except XvError as error:
        return "refused", str(error)
    tops = summary.of_batch(classifier, images, torch.arange(2), before)
    maxima = hooked(classifier, images, {(layer.module, layer.call): layer for layer in tops.layers})
    expected = torch.cat([maxima[layer.module, layer.call] for layer in tops.layers], 1)
    values = tops.values.sort(1).values
    if not torch.equal(values, expected.T.sort(1).values):
        return "FAULT: differs", f"{float((values - expected.T.sort(1).values).abs().max()):.2e}"
    return "those of plain hooks", f"{len(tops.layers)} layers, {len(values)} units"


def hooked(classifier: Classifier, images: Tensor, layers: dict) -> dict[tuple[str, int], Tensor]:
    """Return the maximum of each unit in each image, by module and call."""
    found, calls, handles = {}, Counter(), []

    def keep(name: str) -> Callable:
        def hook(_module: nn.Module, _inputs: tuple, output: object) -> None:
            calls[name] += 1
            layer = layers.get((name, calls[name]))
            if layer is not None:
                axes = tuple(axis for axis in range(output.ndim) if axis not in (0, layer.axis))
                maxima = output.amax(axes) if axes else output.clone()
                found[name, calls[name]] = maxima.clamp_min(0) if layer.is_rectified else maxima

        return hook

    try:
        for name, module in classifier.network.named_modules():
            handles.append(module.register_forward_hook(keep(name)))
        with torch.no_grad():
            classifier.logits(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def evidence(_name: str, classifier: Classifier) -> tuple[str, str]:
    """Compare the mean of the evidence with the logits."""
    images, targets = images_of(classifier), torch.tensor([[1, 2], [3, 1]])
    with torch.no_grad():
        logits = classifier.logits(images).gather(1, targets)
    try:
        found = BagNetEvidence()(classifier, images, targets)
    except XvError as error:
        for words, outcome in {
            "which are of no grid": "refused: tokens of no grid",
            "is not affine": "refused: not affine behind the mean",
            "are no mean over positions": "refused: no mean over positions",
        }.items():
            if words in str(error):
                return outcome, str(error)[-160:]
        return "refused otherwise", str(error)
    difference = float((found.values.mean((2, 3)) - logits).abs().max())
    scale = float(torch.maximum(found.values.abs().max(), logits.abs().max()))
    outcome = "exact" if difference <= 1e-4 * scale else "FAULT: not the logit"
    return outcome, f"{'×'.join(map(str, found.values.shape[2:]))}, {difference / max(scale, 1e-30):.1e}"


def deconvnet(_name: str, classifier: Classifier) -> tuple[str, str]:
    """Return whether the rule has a meaning, and whether the modules say the same."""
    held = kinds_of(classifier.network)
    try:
        Deconvnet().check_fits(classifier)
    except XvError as error:
        message = str(error)
    else:
        fits = bool(held["rectifier"] and held["max_pool"] and not held["smooth"])
        return ("accepted" if fits else "accepted, modules alone do not tell"), str(dict(held))
    for words, reason, is_so in (
        ("is defined for networks of ReLU", "refused: activations", bool(held["smooth"])),
        ("no max-pooling", "refused: no max-pooling", not held["max_pool"]),
        ("no rectifier", "refused: no rectifier", not held["rectifier"]),
    ):
        if words in message:
            return (reason if is_so else f"{reason}, modules alone do not tell"), message[:160]
    return "refused otherwise", message[:160]


def kinds_of(network: nn.Module) -> Counter[str]:
    """Return how many modules are of each kind, by what their class is called."""
    names = [type(each).__name__.lower() for each in network.modules()]
    return Counter({kind: sum(bool(re.search(words, name)) for name in names) for kind, words in KINDS.items()})


QUESTIONS = {
    "preprocessing": preprocessing,
    "layout": layout,
    "units": units,
    "evidence": evidence,
    "deconvnet": deconvnet,
}


def sweep(names: list[str], tell: Callable[[str, list[Answer], float], None]) -> dict[str, list[Answer]]:
    """Return the answers by name."""
    found = {}
    for name in names:
        start = time.perf_counter()
        try:
            found[name] = list(asked(name))
        except Exception as error:  # noqa: BLE001  the sweep goes on, and counts it
            found[name] = [Answer("load", "FAULT: raised", f"{type(error).__name__}: {error}")]
        tell(name, found[name], time.perf_counter() - start)
        gc.collect()
    return found


def sample(n: int, seed: int = 0) -> list[str]:
    """Return some of the names, drawn."""
    every = [*torchvision_names(), *timm_names()]
    return sorted(random.Random(seed).sample(every, n))


def counts(found: dict[str, list[Answer]]) -> str:
    """Return the table of counts as Markdown."""
    libraries = {
        "torchvision": lambda name: not name.startswith("timm/"),
        "timm": lambda name: name.startswith("timm/"),
    }
    tally = {
        library: Counter((each.question, each.outcome) for name in found if of(name) for each in found[name])
        for library, of in libraries.items()
    }
    order = ["load", *QUESTIONS]
    keys = sorted({key for each in tally.values() for key in each}, key=lambda key: (order.index(key[0]), key[1]))
    lines = ["| question | outcome | torchvision | timm |", "|---|---|---|---|"]
    lines += [f"| {q} | {o} | {tally['torchvision'][q, o]} | {tally['timm'][q, o]} |" for q, o in keys]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--families", type=int, default=N_FAMILIES, help="of timm")
    parser.add_argument("--only", nargs="+", help="names instead of all")
    options = parser.parse_args()
    torch.set_num_threads(1)

    def tell(name: str, answers: list[Answer], seconds: float) -> None:
        said = "; ".join(f"{each.question}: {each.outcome} ({each.detail})" for each in answers)
        print(f"{name} [{seconds:.1f} s] {said}", flush=True)

    found = sweep(options.only or [*torchvision_names(), *timm_names(options.families)], tell)
    print(counts(found))
    faults = [(name, each) for name, answers in found.items() for each in answers if each.is_fault]
    for name, each in faults:
        print(f"{name}: {each.question}: {each.outcome}: {each.detail}")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
