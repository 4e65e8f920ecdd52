"""Which of several words a picture shows, by a model that was trained on pictures with text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from xvcore.errors import WeightsError, XvError

PROMPT = "a close-up photo of the {} of an animal"


@dataclass(frozen=True)
class TextImage:
    """A model of the package ``open_clip`` (extra ``clip``), its weights in a file: nothing is downloaded.

    Parameters
    ----------
    architecture : as the package names it, e.g. ``RN50``
    weights : file
    prompt : sentence, ``{}`` for the word; ours: birds and other animals are what parts are annotated of

    Raises
    ------
    XvError
        The package is not installed, has no such architecture, or cannot read the file.
    """

    architecture: str
    weights: str
    prompt: str = PROMPT
    _loaded: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            import open_clip
        except ImportError as error:
            raise XvError("a text-image tagger needs the package open_clip: pip install 'xv[clip]'") from error
        if not Path(self.weights).is_file():
            raise WeightsError(f"no file {self.weights!r} with weights of {self.architecture}")
        try:
            model, _, preprocess = open_clip.create_model_and_transforms(self.architecture, pretrained=self.weights)
        except (RuntimeError, ValueError, OSError) as error:
            raise WeightsError(f"open_clip cannot load {self.architecture} from {self.weights}: {error}") from error
        object.__setattr__(self, "_loaded", (model.eval(), preprocess, open_clip.get_tokenizer(self.architecture)))

    def __call__(self, pictures: Sequence[Image.Image], words: Sequence[str]) -> Float[np.ndarray, "pictures words"]:
        """Return for each picture how it divides between the words; rows sum to 1.

        Softmax of the model's own scale times the cosine of picture and sentence, as it was trained (Radford et al.,
        ICML 2021).
        """
        model, preprocess, tokenizer = self._loaded
        with torch.no_grad():
            images = model.encode_image(torch.stack([preprocess(each) for each in pictures]))
            texts = model.encode_text(tokenizer([self.prompt.format(each) for each in words]))
            images, texts = (each / each.norm(dim=-1, keepdim=True) for each in (images, texts))
            shares = (model.logit_scale.exp() * images @ texts.T).softmax(dim=-1)
        found: np.ndarray = shares.float().cpu().numpy()
        return found
