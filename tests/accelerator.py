"""A pretended CUDA device: tensors that lie in this machine's memory and refuse whatever a GPU would refuse.

Inside :func:`accelerator`, ``"cuda"`` is a device. Its tensors have values, so that whatever looks at them goes its usual
way, and behave as those of ``cuda:0`` do:

* an operation that takes some of them and some of the processor's raises, but for what PyTorch allows: copies, indices,
  and numbers (tensors of no axes) in element-wise operations;
* ``numpy()`` raises;
* a generator of the processor raises where it is to fill one of them.

Not pretended: what autocast rounds, memory that runs short, streams, kernels and their speed.
"""

import concurrent.futures.thread
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

PLACE = torch.device("cuda", 0)
_MAYBE_ON_CPU = {"aten::index": 1, "aten::index_put": 1, "aten::index_put_": 1, "aten::_index_put_impl_": 1}
"""Operations whose arguments from this one on may lie on the processor: indices."""
_COPIES = ("aten::_to_copy", "aten::copy_", "aten::copy")


FACTORIES = ("tensor", "zeros", "ones", "full", "empty", "arange", "linspace", "eye")
_TENSOR = torch.tensor


class DeviceError(RuntimeError):
    """What CUDA would have refused."""


class Moved(torch.Tensor):
    """A tensor of the pretended device; ``held`` has its values. To torch's own code it is a tensor without memory."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "Moved":
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",
        )
        made.held = held
        return made

    device = property(lambda _self: PLACE)
    is_cuda = property(lambda _self: True)
    is_meta = property(lambda _self: False)
    is_cpu = property(lambda _self: False)

    def numpy(self, *, force: bool = False) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    def __array__(self, dtype: Any = None) -> Any:
        return self.numpy()

    def tolist(self) -> Any:
        return self.held.tolist()

    def new_tensor(self, numbers: Any, **named: Any) -> torch.Tensor:
        return _made_of_numbers(torch.Tensor.new_tensor, (self, numbers), named)

    def __repr__(self) -> str:
        return f"Moved({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def _computed(func: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operation gives on the device where its tensors lie; DeviceError where they lie on both."""
    leaves, shape = tree_flatten((args, kwargs))
    to = kwargs.get("device")
    is_there = any(isinstance(leaf, Moved) for leaf in leaves)
    goes_there = to is not None and torch.device(to).type == "meta"
    if not is_there and not goes_there:
        return func(*args, **kwargs)
    name = func._schema.name
    if is_there:
        _refuse_mixture(name, func, args, kwargs)
    if any(isinstance(leaf, torch.Generator) and leaf.device.type == "cpu" for leaf in leaves):
        raise DeviceError(f"{name}: expected a 'cuda' device type for generator but found 'cpu'")
    held_args, held_kwargs = tree_unflatten([leaf.held if isinstance(leaf, Moved) else leaf for leaf in leaves], shape)
    if goes_there:
        held_kwargs = {**held_kwargs, "device": torch.device("cpu")}
    found = func(*held_args, **held_kwargs)
    if to is not None and not goes_there:
        return found.clone() if any(found is leaf.held for leaf in leaves if isinstance(leaf, Moved)) else found
    written = [
        args[index] if index < len(args) else kwargs.get(argument.name)
        for index, argument in enumerate(func._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    for each in written:
        if isinstance(each, torch.Tensor) and not isinstance(each, Moved):
            if name in _COPIES:
                return each
            raise DeviceError(f"{name}: writes a tensor of the processor from one of cuda:0")
    if written and all(value.alias_info is not None and value.alias_info.is_write for value in func._schema.returns):
        return written[0] if len(func._schema.returns) == 1 else tuple(written)
    return tree_map(lambda each: Moved(each) if isinstance(each, torch.Tensor) else each, found)


def _refuse_mixture(name: str, func: Any, args: Any, kwargs: Any) -> None:
    if name in _COPIES:
        return
    first_free = _MAYBE_ON_CPU.get(name)
    for index, argument in enumerate([*args, *kwargs.values()]):
        if index == first_free and isinstance(args[0], Moved):
            continue
        for leaf in tree_flatten(argument)[0]:
            if not isinstance(leaf, torch.Tensor) or isinstance(leaf, Moved):
                continue
            if leaf.ndim == 0 and torch.Tag.pointwise in func.tags:
                continue
            raise DeviceError(
                f"{name}: expected all tensors to be on the same device, but found cuda:0 and {leaf.device} "
                f"(argument {index}, shape {tuple(leaf.shape)})"
            )


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


class _Names(TorchFunctionMode):
    """Lets torch's own code take the pretended device's name for that of tensors without memory."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.device or getattr(func, "__name__", "") == "device":
            return func(*args, **kwargs)
        if func is torch.Tensor.cuda:
            return args[0].to(torch.device("meta"))
        if func in (_TENSOR, torch.Tensor.new_tensor):
            return _made_of_numbers(func, args, kwargs)
        generator, device = kwargs.get("generator"), kwargs.get("device")
        if generator is not None and device is not None and _is_place(device) and generator.device.type == "cpu":
            raise DeviceError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
        args = tuple(torch.device("meta") if _is_place(each) else each for each in args)
        return func(*args, **{key: torch.device("meta") if _is_place(each) else each for key, each in kwargs.items()})


def _made_of_numbers(func: Callable[..., Any], args: Any, kwargs: Any) -> torch.Tensor:
    """Return a tensor of numbers: made on the processor, since torch fills it where no mode sees it, and copied."""
    like, numbers = args if func is torch.Tensor.new_tensor else (None, *args)
    given = [each.device for each in (numbers, like) if isinstance(each, torch.Tensor)]
    device = kwargs.get("device") or next(iter(given), "cpu")
    named = {key: value for key, value in kwargs.items() if key != "device"}
    if like is not None:
        named.setdefault("dtype", like.dtype)
    found = _TENSOR(numbers.held if isinstance(numbers, Moved) else numbers, **named)
    return found.to(torch.device("meta") if _is_place(device) else device)


def _is_place(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and value.split(":")[0] == "cuda"


def _placing(make: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function that makes tensors on the pretended device, also where no mode sees it: in others' dispatch."""

    def placing(*args: Any, **kwargs: Any) -> torch.Tensor:
        if not _is_place(kwargs.get("device")):
            return make(*args, **kwargs)
        if make is _TENSOR:
            return _made_of_numbers(make, args, kwargs)
        return make(*args, **{**kwargs, "device": torch.device("meta")})

    return placing


def _pretending(run: Callable[..., None]) -> Callable[..., None]:
    """Return a thread's work with the modes that it would else lack: they are of the thread that entered them."""

    def pretending(*args: Any) -> None:
        with _Names(), _Operations():
            run(*args)

    return pretending


@contextlib.contextmanager
def accelerator() -> Iterator[torch.device]:
    """Pretend that this machine has a CUDA device, for as long as the ``with`` lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "is_available": True,
            "get_device_name": "pretended",
            "current_device": 0,
            "device_count": 1,
            "empty_cache": None,
            "synchronize": None,
            "reset_peak_memory_stats": None,
            "max_memory_allocated": 2**20,
            "is_bf16_supported": True,
        }.items():
            patch.setattr(torch.cuda, name, lambda *_args, _value=value, **_kwargs: _value)
        patch.setattr(torch.accelerator, "current_accelerator", lambda **_kwargs: None)  # optimizers ask its stream
        for name in FACTORIES:
            patch.setattr(torch, name, _placing(getattr(torch, name)))
        run = concurrent.futures.thread._WorkItem.run
        patch.setattr(concurrent.futures.thread._WorkItem, "run", _pretending(run))
        kept = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            with _Names(), _Operations():
                yield PLACE
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(kept)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Run tests marked gpu on the pretended device, where this module is a plug-in: ``pytest -p accelerator -m gpu``."""
    with accelerator() if item.get_closest_marker("gpu") else contextlib.nullcontext():
        return (yield)
