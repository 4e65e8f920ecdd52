"""A network with one output behind a sigmoid, as a network with two outputs behind a softmax."""

from torch import Tensor, nn

from xvcore.errors import ParameterError


class TwoClasses(nn.Module):
    """Two scores, 0 and z, of a network whose one score is z.

    The same probabilities as its sigmoid: ``softmax(0, z) = (1 - sigmoid(z), sigmoid(z))``. Output 1 stands for what
    the network was trained to say yes to (label 1 of binary cross-entropy), output 0 for all else (label 0). The score
    is the one before the sigmoid: a sigmoid inside the network has to be taken out of it.

    Parameters
    ----------
    network : images to one score each, shape (batch, 1) or (batch,)

    Examples
    --------
    >>> import torch
    >>> from xvcore.models import TwoClasses
    >>> TwoClasses(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 1)))(torch.zeros(5, 3, 2, 2)).shape
    torch.Size([5, 2])
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """Return the two scores of each image.

        Raises
        ------
        ParameterError
            The network returns something else than one score an image.
        """
        score = self.network(images)
        if not isinstance(score, Tensor) or score.shape not in ((len(images),), (len(images), 1)):
            seen = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise ParameterError(f"{type(self.network).__name__} returns {seen}: expected one score an image")
        score = score.reshape(-1, 1)
        return nn.functional.pad(score, (1, 0))
