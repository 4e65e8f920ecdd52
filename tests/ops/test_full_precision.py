"""Float32 that is float32, for as long as it is asked for."""

import pytest
import torch

from xvcore.ops.full_precision import PLACES, full_precision


def seen() -> list[str]:
    return [place.fp32_precision for place in PLACES]


def choose(setting: str) -> None:
    if setting == "older":
        torch.backends.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("medium")
    elif setting == "newer":
        torch.backends.cudnn.conv.fp32_precision = "tf32"
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    elif setting == "off":
        torch.backends.cudnn.allow_tf32 = False


@pytest.fixture
def _untouched():
    kept, older = seen(), (torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision())
    yield
    torch.backends.cudnn.allow_tf32 = older[0]
    torch.set_float32_matmul_precision(older[1])
    for place, precision in zip(PLACES, kept, strict=True):
        place.fp32_precision = precision


@pytest.mark.usefixtures("_untouched")
@pytest.mark.parametrize("setting", ["default", "older", "newer", "off"])
def test_flags_are_off_inside_and_restored_even_after_an_error(setting):
    choose(setting)
    before = seen()
    with torch.autocast("cpu", torch.bfloat16):
        with full_precision("cpu"):
            assert set(seen()) == {"ieee"}
            assert not torch.is_autocast_enabled("cpu")
            assert torch.backends.cudnn.allow_tf32 is False
        assert seen() == before
        assert torch.is_autocast_enabled("cpu")
    with pytest.raises(KeyError), full_precision("cpu"):
        raise KeyError
    assert seen() == before
    if setting == "older":
        assert torch.backends.cudnn.allow_tf32 is True
        assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.usefixtures("_untouched")
def test_it_may_be_nested():
    before = seen()
    with full_precision(), full_precision():
        assert set(seen()) == {"ieee"}
    assert seen() == before


def test_a_product_under_autocast_is_that_without():
    a, b = (torch.randn(50, 50, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    exact = a @ b
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal((a @ b).float(), exact)
        with full_precision("cpu"):
            assert torch.equal(a @ b, exact)


@pytest.mark.gpu
def test_a_convolution_on_the_gpu_is_that_of_float64_up_to_float32():
    generator = torch.Generator().manual_seed(0)
    image, weight = torch.randn(1, 256, 32, 32, generator=generator), torch.randn(64, 256, 3, 3, generator=generator)
    exact = torch.nn.functional.conv2d(image.double(), weight.double())
    with full_precision():
        found = torch.nn.functional.conv2d(image.cuda(), weight.cuda())
    assert (found.cpu() - exact).abs().max() < 1e-5 * exact.abs().max()
