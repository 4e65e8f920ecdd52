"""Networks that compute in channels-last order."""

import torch
from torch import Tensor, nn


class ChannelsLast(nn.Module):
    """A network that is given its pictures in channels-last order.

    Convolutions run up to a third faster that way on a CPU, and on a GPU below float32; only the rounding differs. The
    order changes between normalisation and network, since broadcasting over three interleaved colours is slow.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, pictures: Tensor) -> Tensor:
        """Return what the network returns."""
        result: Tensor = self.network(pictures.contiguous(memory_format=torch.channels_last))
        return result
