"""What every registered method owes its callers."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from xvcore.evidence.method.bagnet_evidence import BagNetEvidence
from xvcore.methods import methods
from xvcore.parameters import as_dict, replaced

SHORT = {"smooth_steps": 4, "crisp_steps": 3, "n_steps": 3, "n_masks": 5, "rule.degenerate": "allow"}


@pytest.fixture(params=list(methods))
def method(request):
    """Each registered method, with few steps where it takes steps; the small network has no max-pooling."""
    made = methods[request.param]()
    known = {field.name for field in dataclasses.fields(made)}
    return replaced(made, {name: value for name, value in SHORT.items() if name.partition(".")[0] in known})


@pytest.fixture
def make_classifier(method, make_classifier):
    """The small classifier; for methods that need a mean over positions before the last layer, one that has it."""

    def end_in_a_mean(network):
        pooled = nn.Sequential(
            *network[:4], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, network[-1].out_features)
        )
        pooled[-1].weight.data.copy_(network[-1].weight.data.unflatten(1, (12, 4)).sum(2))
        pooled[-1].bias.data.copy_(network[-1].bias.data)
        return pooled.to(network[0].weight.dtype)

    wrap = end_in_a_mean if isinstance(method, BagNetEvidence) else lambda network: network
    return partial(make_classifier, wrap=wrap)


def tensors_of(result) -> dict[str, Tensor]:
    if isinstance(result, Tensor):
        return {"result": result}
    values = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def test_the_input_is_not_changed(method, make_classifier, make_images):
    images, targets = make_images()
    kept, kept_targets = images.clone(), targets.clone()
    method(make_classifier(), images, targets)
    assert torch.equal(images, kept)
    assert torch.equal(targets, kept_targets)
    assert not images.requires_grad
    assert images.grad is None


def test_parameters_get_no_gradient_and_do_not_change(method, make_classifier, make_images):
    classifier = make_classifier()
    before = {name: value.clone() for name, value in classifier.network.state_dict().items()}
    method(classifier, *make_images())
    after = classifier.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(each.grad is None and not each.requires_grad for each in classifier.network.parameters())


def test_modes_and_hooks_are_found_as_left_even_after_an_error(method, make_classifier, make_images):
    classifier, calls, last = make_classifier(), [], 3

    def fail_at_last_call(module, inputs):
        calls.append(module)
        if len(calls) == last:
            raise KeyError("last call")

    method(classifier, *make_images())  # what is found out once per network is known now
    with classifier.network.register_forward_pre_hook(lambda *call: calls.append(call)):
        method(classifier, *make_images())
    last = min(last, len(calls))
    calls.clear()
    handle = classifier.network.register_forward_pre_hook(fail_at_last_call)
    hooks = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in classifier.network.modules()]
    with pytest.raises(KeyError, match="last call"):
        method(classifier, *make_images())
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")
    assert not any(each.training for each in classifier.network.modules())
    assert not any(each.requires_grad for each in classifier.network.parameters())
    found = [len(each._forward_hooks) + len(each._forward_pre_hooks) for each in classifier.network.modules()]
    assert found == hooks
    handle.remove()


def test_every_tensor_has_one_row_per_image_and_no_graph_on_the_images_device(method, make_classifier, make_images):
    images, targets = make_images(3)
    for name, value in tensors_of(method(make_classifier(), images, targets)).items():
        assert len(value) == 3, name
        assert value.device == images.device, name
        assert not value.requires_grad, name
        assert value.isfinite().all(), name


def test_it_works_inside_no_grad(method, make_classifier, make_images):
    images, targets = make_images(2)
    outside = tensors_of(method(make_classifier(), images, targets))
    with torch.no_grad():
        inside = tensors_of(method(make_classifier(), images, targets))
    assert all(torch.equal(outside[name], inside[name]) for name in outside)


def test_the_result_of_an_image_does_not_depend_on_its_batch(method, make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(5, torch.float64)
    whole = tensors_of(method(classifier, images, targets))
    parts = [tensors_of(method(classifier, images[part], targets[part])) for part in (slice(0, 1), slice(1, 5))]
    for name, value in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value, rtol=0, atol=1e-9)


def test_the_result_of_an_image_does_not_depend_on_its_place(method, make_classifier, make_images):
    classifier, (images, targets) = make_classifier(torch.float64), make_images(5, torch.float64)
    whole, order = tensors_of(method(classifier, images, targets)), torch.tensor([3, 1, 4, 0, 2])
    shuffled = tensors_of(method(classifier, images[order], targets[order]))
    for name, value in whole.items():
        torch.testing.assert_close(shuffled[name], value[order], rtol=0, atol=1e-9)


def test_every_parameter_has_a_description_and_the_settings_are_plain_values(method):
    def check(settings):
        for field in dataclasses.fields(settings):
            assert field.metadata.get("description"), field.name
            if dataclasses.is_dataclass(getattr(settings, field.name)):
                check(getattr(settings, field.name))

    check(method)
    assert replaced(type(method)(), {}) == type(method)()
    assert as_dict(method)
