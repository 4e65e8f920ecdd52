"""Laws of the import of torchvision: torch's compiler is not there until somebody asks for it, and then it is torch's."""

import subprocess
import sys

import torch
from torch import nn

from xvcore.models.lean import Undrawn

PROGRAM = """
import sys
import torch
from xvcore.models import load
from xvcore.models.lean import COMPILER, UTILITIES, compiler_later

load("squeezenet1_1@random?classes=2").logits(torch.rand(1, 3, 224, 224))
assert COMPILER not in sys.modules and UTILITIES not in sys.modules
with compiler_later():
    standin = sys.modules[UTILITIES]
    assert type(standin).__name__ == "_Standin"
    from torch._dynamo.utils import is_compile_supported as later
    assert sys.modules[UTILITIES] is standin, "asking for the one function imports nothing"
    real = standin.counters  # anything else is the compiler's own
import torch._dynamo
assert torch._dynamo.utils.counters is real
assert later("cpu") is torch._dynamo.utils.is_compile_supported("cpu")
found = sys.modules["torchvision.ops.roi_align"].is_compile_supported
assert found("cpu") is torch._dynamo.utils.is_compile_supported("cpu")
with compiler_later():
    assert sys.modules[UTILITIES] is torch._dynamo.utils, "what is there stays"
assert sys.modules[UTILITIES] is torch._dynamo.utils
double = torch.compile(lambda x: 2 * x, backend="eager")
assert double(torch.ones(2)).tolist() == [2, 2]
"""

OF_FILES = """
import sys
import torch
from torchvision.models import mobilenet_v2
torch.save(mobilenet_v2(num_classes=3).state_dict(), sys.argv[1])
for name in [each for each in sys.modules if each.startswith(("torch._dynamo", "sympy"))]:
    del sys.modules[name]
from xvcore.models import load
assert load(f"mobilenet_v2@{sys.argv[1]}?input=96").n_classes == 3
assert "torch._dynamo" not in sys.modules, "a network is laid out without memory, and tried, without the compiler"
"""


def test_a_file_of_weights_is_read_without_the_compiler(tmp_path) -> None:
    command = [sys.executable, "-c", OF_FILES, str(tmp_path / "weights.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_without_memory_is_drawn_and_what_has_memory_is() -> None:
    with Undrawn():
        with torch.device("meta"):
            shaped = nn.Conv2d(3, 8, 3).state_dict()
        torch.manual_seed(0)
        drawn = nn.Conv2d(3, 8, 3).weight
    torch.manual_seed(0)
    assert torch.equal(drawn, nn.Conv2d(3, 8, 3).weight)
    assert {name: tuple(value.shape) for name, value in shaped.items()} == {"weight": (8, 3, 3, 3), "bias": (8,)}


def test_the_compiler_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
