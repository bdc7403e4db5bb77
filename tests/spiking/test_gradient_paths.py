"""The gradient paths against hand-written references on a network of two layers, T = 3."""

import math
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robench.datasets import DIGITS
from robench.epsilon import parse_grid
from robench.errors import EvaluationError
from robench.evaluation.cell import Cell, Settings
from robench.registry import Model, find_attack
from robench.spiking import LIF, PATHS, LIFParameters, kernels
from tests.support.two_layers import ATAN, Counterpart, T, Two, X, Y, model_of, view_of

CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def run_neurons(current, p):
    v = torch.full_like(current[0], p.initial * p.threshold)
    s = torch.zeros_like(v)
    membranes, spikes = [], []
    for t in range(T):
        v = (
            p.beta * v * (1 - s) + current[t]
            if p.reset == "zero"
            else (p.beta * v + current[t] - p.threshold * s)
        )
        s = (v > p.threshold).double()
        membranes.append(v)
        spikes.append(s)
    return membranes, spikes


def slope(z):
    """The derivative of atan(2), number by number."""
    values = [1 / (1 + (math.pi * value) ** 2) for value in z.flatten().tolist()]
    return torch.tensor(values, dtype=torch.float64).view(z.shape)


def back_stbp(grad, v, s, current, p, amplitude, *, through_reset):
    later = torch.zeros_like(v[0])
    found = []
    for t in reversed(range(T)):
        g = slope(v[t] - p.threshold)
        if p.reset == "subtract":
            here = p.beta * later + amplitude * grad[t] * g
            if through_reset:
                here = here - p.threshold * later * g
        else:
            here = p.beta * (1 - s[t]) * later + amplitude * grad[t] * g
            if through_reset:
                here = here - p.beta * v[t] * later * g
        found.insert(0, here)
        later = here
    return found


def back_bptr(grad, v, s, current, p, amplitude):
    rate = sum(s) / T
    return [grad[t] * (rate > 0).double() for t in range(T)]


def back_rga(grad, v, s, current, p, amplitude):
    mean = sum(current[t] for t in range(T)) / T
    tau, gamma = p.beta, 0.2
    factors = []
    for value in (mean / p.threshold).flatten().tolist():
        factor = 0.0
        if 1 - tau <= value <= 2:
            factor = (1 - gamma + gamma * tau) / (tau + 1)
        elif 0 <= value < 1 - tau:
            factor = gamma
        factors.append(factor / p.threshold)
    factor = torch.tensor(factors, dtype=torch.float64).view(mean.shape)
    return [amplitude * grad[t] * factor for t in range(T)]


def back_hart(grad, v, s, current, p, amplitude):
    pruned = [amplitude * grad[t] * slope(v[t] - p.threshold) for t in range(T)]
    return [sum(pruned) / T] * T


REFERENCES = {
    "stbp-detached": lambda *a: back_stbp(*a, through_reset=False),
    "stbp-reset": lambda *a: back_stbp(*a, through_reset=True),
    "bptr": back_bptr,
    "rga": back_rga,
    "hart": back_hart,
}


def by_hand(net, name, p, amplitude):
    """Gradient of the cross-entropy at X."""
    back = REFERENCES[name]
    first = [X.flatten(1) @ net.first] * T
    v1, s1 = run_neurons(first, p)
    second = [amplitude * s @ net.second for s in s1]
    v2, s2 = run_neurons(second, p)
    logits = amplitude * sum(s2) / T @ net.head
    error = (logits.softmax(1) - F.one_hot(Y, 4)) @ net.head.T / T
    grad = back([error] * T, v2, s2, second, p, amplitude)
    grad = back([g @ net.second.T for g in grad], v1, s1, first, p, amplitude)
    return sum(g @ net.first.T for g in grad).view(X.shape), logits


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("threshold", [1.0, 0.75])
@pytest.mark.parametrize(("beta", "reset"), [(0.5, "subtract"), (0.8, "zero"), (1.0, "zero")])
@pytest.mark.parametrize("name", REFERENCES)
def test_each_path_is_its_published_rule(name, beta, reset, threshold, graded, plain):
    p = LIFParameters(beta, threshold, reset, initial=0.25)
    net = Two(p, graded=graded)
    expected, logits = by_hand(net, name, p, threshold if graded else 1.0)
    view = view_of(model_of(net))
    with kernels.reference() if plain else nullcontext():
        found = view.gradient(X, Y, surrogate=ATAN, path=PATHS[name])
    torch.testing.assert_close(found, expected, **CLOSE)
    assert expected.flatten(1).any(1).all()
    torch.testing.assert_close(net(X), logits, **CLOSE)  # the forward pass is the same
    assert view.queries.backwards.squeeze(1).tolist() == [1] * len(X)


@pytest.mark.parametrize("detach", [False, True], ids=["through the reset", "reset detached"])
def test_stbp_goes_through_the_reset_if_the_network_was_trained_so(detach):
    p = LIFParameters(0.5, initial=0.25, detach_reset=detach)
    net = Two(p)
    expected, _ = by_hand(net, "stbp-detached" if detach else "stbp-reset", p, 1.0)
    view = view_of(model_of(net))
    torch.testing.assert_close(view.gradient(X, Y, path=PATHS["stbp"]), expected, **CLOSE)
    torch.testing.assert_close(view.gradient(X, Y), expected, **CLOSE)  # the model's own
    leaf = X.clone().requires_grad_()
    loss = F.cross_entropy(view.differentiable(leaf), Y, reduction="sum")
    torch.testing.assert_close(torch.autograd.grad(loss, leaf)[0], expected, **CLOSE)


def test_the_paths_differ_from_each_other():
    view = view_of(model_of(Two(LIFParameters(0.5))))
    found = [view.gradient(X, Y, surrogate=ATAN, path=PATHS[name]) for name in REFERENCES]
    for i, one in enumerate(found):
        assert not any(torch.allclose(one, other) for other in found[:i])


@pytest.mark.parametrize("name", ["bptr", "rga"])
def test_a_path_without_a_surrogate_reaches_a_network_that_has_none(name):
    view = view_of(model_of(Two(LIFParameters(), None)))
    assert not view.gradient(X, Y).any()
    assert view.gradient(X, Y, path=PATHS[name]).any()


def test_the_rate_approximation_is_the_line_of_an_if_neuron():
    layer = LIF(LIFParameters(beta=1.0), None).double()
    layer.gradient_path = PATHS["rga"]
    x = torch.tensor([-0.1, 0.0, 0.6, 2.0, 2.1], dtype=torch.float64).repeat(T, 1)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(layer(x).sum(), x)
    assert grad.tolist() == [[0.0, 0.5, 0.5, 0.5, 0.0]] * T


def test_cba_is_the_gradient_of_the_counterpart():
    net = Two(LIFParameters())
    built = []

    def make():
        built.append(1)
        return Counterpart(net)

    view = view_of(model_of(net, make_counterpart=make))
    leaf = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(
        F.cross_entropy(Counterpart(net)(leaf), Y, reduction="sum"), leaf
    )
    for _ in range(2):
        found = view.gradient(X, Y, path=PATHS["cba"])
        torch.testing.assert_close(found, expected, **CLOSE)
    assert len(built) == 1
    assert view.queries.backwards.squeeze(1).tolist() == [2] * len(X)
    assert not view.seen  # inputs that only the counterpart misclassifies do not count


def test_cba_of_a_network_without_spikes_is_its_own_gradient():
    counterpart = Counterpart(Two(LIFParameters()))
    counterpart.net.neurons = nn.ModuleList()
    model = Model(counterpart, "digits/relu", 4)
    assert not model.spiking
    view = view_of(model)
    assert torch.equal(view.gradient(X, Y, path=PATHS["cba"]), view.gradient(X, Y))


def test_a_missing_counterpart_is_an_error():
    view = view_of(model_of(Two(LIFParameters())))
    with pytest.raises(EvaluationError, match="digits/two has no ANN counterpart"):
        view.gradient(X, Y, path=PATHS["cba"])


@pytest.mark.parametrize("counterpart", [False, True])
def test_an_attack_that_needs_a_counterpart_is_not_applicable_without_one(counterpart):
    model = model_of(
        Two(LIFParameters()), make_counterpart=(lambda: nn.Identity()) if counterpart else None
    )
    images = DIGITS.load("test").first(2)
    for request, needs in (
        ("surrogate-ensemble[paths=[stbp,cba]]", True),
        ("surrogate-ensemble[paths=[bptr]]", False),
    ):
        cell = Cell(model, find_attack(request), DIGITS, images, Settings(parse_grid(["0.1"])))
        assert cell.unmet() == (
            frozenset({"counterpart"}) if needs and not counterpart else frozenset()
        )
    ann = Model(nn.Identity(), "digits/ann", 10)
    cell = Cell(
        ann,
        find_attack("surrogate-ensemble[paths=[cba]]"),
        DIGITS,
        images,
        Settings(parse_grid(["0.1"])),
    )
    assert not cell.unmet()
