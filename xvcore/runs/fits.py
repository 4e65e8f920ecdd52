"""What can be done with a network: every family is asked, and each asks the network itself, with random weights.

What a family needs follows from a pass, not from a name: whether the gradient is the derivative, which non-linearities
there are, whether the logits are a mean over positions, whether a last map keeps places apart. None of it depends on
the values of the weights, so that nothing is downloaded.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from xvcore.errors import XvError, in_one_line
from xvcore.models import Classifier, find, load
from xvcore.runs.pipeline import in_order
from xvcore.runs.stage import pipelines

MOST_PARAMETERS = 400_000_000
"""Of a network that is asked: more take minutes, and much memory."""
SIDES = (96, 128)
"""Inputs in px that are tried before a network's own: a small one is asked in less time."""
N_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Fit:
    """What a network answers.

    Parameters
    ----------
    what : a method or a rule
    is_fit : whether it is for the network
    detail : what it finds there, else why it is not
    """

    what: str
    is_fit: bool
    detail: str


def fits(name: str) -> Iterator[Fit]:
    """Yield what each family says of a network.

    Parameters
    ----------
    name : of an architecture, as users type it, without weights

    Raises
    ------
    XvError
        It cannot be built, or is too large to be asked.
    """
    n = n_parameters(name)
    if n > MOST_PARAMETERS:
        raise XvError(f"{n / 1e6:.0f} million parameters: at most {MOST_PARAMETERS / 1e6:.0f} million are asked")
    classifier = small(name)
    for method in in_order(pipelines):
        for what, ask in pipelines[method].fits.items():
            try:
                yield Fit(what, is_fit=True, detail=ask(classifier))
            except XvError as error:
                yield Fit(what, is_fit=False, detail=in_one_line(error))


def n_parameters(name: str) -> int:
    """Return how many parameters a network has, without their memory where it can be built so."""
    build = find(name).build
    try:
        with torch.device("meta"):
            network = build(N_CLASSES)
    except (NotImplementedError, RuntimeError):  # computes its widths with tensors
        network = build(N_CLASSES)
    return sum(each.numel() for each in network.parameters())


def small(name: str) -> Classifier:
    """Return a network with random weights, for the smallest images that it takes."""
    for side in SIDES:
        try:
            classifier = load(f"{name}@random?classes={N_CLASSES}&input={side}")
            with torch.no_grad():
                classifier.logits(torch.rand(1, 3, side, side))
        except (XvError, RuntimeError, AssertionError, ValueError, IndexError):  # whatever networks raise
            continue
        return classifier
    return load(f"{name}@random?classes={N_CLASSES}")
