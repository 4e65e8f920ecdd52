"""A mode that sees every operator of a pass, without torch's compiler."""

from torch.utils._python_dispatch import TorchDispatchMode


class OperatorMode(TorchDispatchMode):
    """Sees every operator that runs within it; what it does with them is up to its ``__torch_dispatch__``."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, to tell it to leave this mode alone
