"""Laws of the import of torchvision: torch's compiler is not there until somebody asks for it, and then it is torch's."""

import subprocess
import sys

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


def test_the_compiler_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
