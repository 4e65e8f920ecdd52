"""The pretended device of the tests refuses what CUDA refuses, and computes what the processor does."""

# ruff: noqa: ARG005  every entry takes both tensors
import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from accelerator import DeviceError, accelerator
from torch import nn

REFUSED = {
    "element-wise": lambda here, there: there + here,
    "in place": lambda here, there: here.mul_(there),
    "joined": lambda here, there: torch.cat([there, here]),
    "chosen": lambda here, there: torch.where(there > 0, there, here),
    "multiplied": lambda here, there: there @ here.T,
    "indexed by it": lambda here, there: here[there.long()[:, 0]],
    "own numbers": lambda here, there: torch.rand(2, device=there.device, generator=torch.Generator()),
    "filled": lambda here, there: there.uniform_(generator=torch.Generator()),
}
ALLOWED = {
    "a number": (lambda here, there: there + torch.tensor(2.0), lambda here: here + 2),
    "indices": (lambda here, there: there[torch.tensor([1])], lambda here: here[[1]]),
    "copied": (lambda here, there: torch.zeros_like(there).copy_(here), lambda here: here),
    "like it": (lambda here, there: here.to(there), lambda here: here),
    "made there": (lambda here, there: torch.arange(3.0, device=there.device), lambda here: torch.arange(3.0)),
    "numbers": (lambda here, there: there.new_tensor([1, 2]), lambda here: torch.tensor([1.0, 2.0])),
    "in place": (lambda here, there: there.clone()[0].add_(1), lambda here: here[0] + 1),
}


def both() -> tuple[torch.Tensor, torch.Tensor]:
    here = torch.rand(3, 4, generator=torch.Generator().manual_seed(0))
    return here, here.cuda()


@pytest.mark.parametrize("name", REFUSED)
def test_what_mixes_devices_is_refused(name):
    with accelerator(), pytest.raises(DeviceError):
        REFUSED[name](*both())


@pytest.mark.parametrize("name", ALLOWED)
def test_what_cuda_allows_is_computed(name):
    work, expected = ALLOWED[name]
    with accelerator() as place:
        here, there = both()
        found = work(here, there)
        assert found.device == place
        torch.testing.assert_close(found.cpu(), expected(here))


def test_arrays_are_made_on_the_processor_alone():
    with accelerator():
        here, there = both()
        with pytest.raises(TypeError, match=r"Use Tensor\.cpu"):
            there.numpy()
        assert (there.cpu().numpy() == here.numpy()).all()
        assert there.tolist() == here.tolist()


def test_a_network_there_learns_what_it_learns_here():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with accelerator():
        moved = copy.deepcopy(network).to("cuda")
        for each, given in ((network, images), (moved, images.cuda())):
            optimiser = torch.optim.AdamW(each.parameters(), lr=0.01)
            each(given).square().sum().backward()
            optimiser.step()
        for name, value in moved.state_dict().items():
            torch.testing.assert_close(value.cpu(), network.state_dict()[name])
        with pytest.raises(DeviceError):
            moved(images)


def test_threads_know_the_device_too():
    with accelerator() as place, ThreadPoolExecutor(1) as pool:
        assert pool.submit(lambda: torch.zeros(2, device="cuda")).result().device == place


def test_its_name_is_that_of_a_gpu():
    with accelerator() as place:
        assert torch.device("cuda", 0) == place
        assert torch.zeros(1, device=torch.device("cuda")).is_cuda
        assert not torch.zeros(1).is_cuda
