"""Where memory is short a batch goes in halves: the same results, in order."""

import pytest
import torch

from xvcore.ops.memory import in_halves


def fits(limit, calls):
    def double(numbers, factors):
        calls.append(len(numbers))
        if len(numbers) > limit:
            raise torch.OutOfMemoryError("no memory")
        return numbers * factors

    return double


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
def test_results_come_in_order_whatever_fits(limit):
    numbers, factors, calls = torch.arange(11), torch.full((11,), 2), []
    parts = in_halves(fits(limit, calls), numbers, factors)
    assert torch.cat(parts).tolist() == (numbers * 2).tolist()
    assert max(len(part) for part in parts) <= limit
    assert calls[0] == 11


def test_a_single_element_that_does_not_fit_raises():
    calls = []
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(fits(0, calls), torch.arange(4), torch.arange(4))
    assert calls == [4, 2, 1]


def test_other_errors_pass():
    def broken(numbers):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_halves(broken, torch.arange(4))


def test_the_user_reads_of_it(caplog):
    in_halves(fits(2, []), torch.arange(3), torch.arange(3))
    assert "out of memory at a batch of 3: going on with 2" in caplog.text
