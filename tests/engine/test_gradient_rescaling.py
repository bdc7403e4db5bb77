"""Gradients outside the range of float32 are rescaled, and their passes are counted."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from robench.attacks import FGSM
from robench.attacks.primitives.losses import direction_of, loss_of
from robench.engine.view import ModelView, QueryCounter
from robench.registry import Model
from robench.spiking import LIF, LIFParameters, Surrogate, direct, override

N = 6
X = torch.rand(N, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 1, 2])
THIN, BROAD = Surrogate("fast_sigmoid", 1e4), Surrogate("straight_through", 1e6)


class Deep(nn.Module):
    """Seven layers of neurons."""

    def __init__(self, surrogate):
        super().__init__()
        self.layers = nn.ModuleList(LIF(LIFParameters(), surrogate) for _ in range(7))
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("head", torch.randn(16, 3, generator=generator))

    def forward(self, x):
        current = direct(1.05 + 0.9 * x.flatten(1), 1)
        for layer in self.layers:
            current = 1.5 * layer(current)
        return current.mean(0) @ self.head


def view_of(model):
    return ModelView(model, Y, torch.arange(N), QueryCounter.empty(N))


def deep(surrogate):
    return Model(Deep(surrogate), "digits/deep", 3, mode="stbp", timesteps=1)


def exact(model, surrogate, loss="cross-entropy"):
    """The gradient in float64, each row divided by its largest magnitude."""
    double = Model(copy.deepcopy(model.module).double(), "digits/exact", 3)
    gradient = view_of(double).gradient(X.double(), Y, loss, surrogate=surrogate)
    return gradient / gradient.abs().flatten(1).amax(1)[:, None, None, None]


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
@pytest.mark.parametrize("surrogate", [THIN, BROAD], ids=["underflow", "overflow"])
def test_a_gradient_out_of_range_is_rescaled_in_its_direction(surrogate, loss):
    model = deep(Surrogate("atan", 2.0))
    leaf = X.clone().requires_grad_()
    with override(model.module, surrogate=surrogate, path=None):
        (plain,) = torch.autograd.grad(F.cross_entropy(model.logits(leaf), Y), leaf)
    assert not plain.any() or not plain.isfinite().all()  # lost without rescaling
    view = view_of(model)
    found = view.gradient(X, Y, loss, surrogate=surrogate)
    assert found.isfinite().all()
    found = found.double() / found.abs().flatten(1).amax(1)[:, None, None, None]
    torch.testing.assert_close(found, exact(model, surrogate, loss), atol=1e-5, rtol=1e-4)
    assert view.queries.backwards.squeeze(1).tolist() == [2] * N
    assert not view.queries.zero_gradients.any()
    assert not view.queries.without_gradient().any()


def linear(scale):
    head = nn.Linear(16, 3)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        head.weight.copy_(scale * torch.randn(3, 16, generator=generator))
        head.bias.zero_()
    return Model(nn.Sequential(nn.Flatten(), head), "digits/linear", 3)


@pytest.mark.parametrize("scale", [60.0, 1e5])
def test_a_saturated_loss_has_a_gradient(scale):
    model = linear(scale)
    logits = model.logits(X)
    label = logits.argmax(1)
    view = ModelView(model, label, torch.arange(N), QueryCounter.empty(N))
    found = FGSM().direction(view, X, label, None)
    saturated = view.queries.backwards.squeeze(1) == 2
    assert saturated.any()
    assert not view.queries.zero_gradients.any()
    second = logits.scatter(1, label[:, None], -torch.inf).argmax(1)
    weight = model.module[1].weight
    direction = (weight[second] - weight[label]).view(X.shape).sign()
    agreement = (found == direction).float().flatten(1).mean(1)
    assert (agreement[saturated] > 0.9).all()  # a third class may have a small share


@pytest.mark.parametrize("loss", ["cross-entropy", "margin"])
def test_the_direction_at_the_logits_is_that_of_the_loss(loss):
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = torch.tensor([0, 1, 2, 3])
    leaf = logits.clone().requires_grad_()
    (exact,) = torch.autograd.grad(loss_of(leaf, y, loss).sum(), leaf)
    exact = exact / -exact.gather(1, y[:, None])
    torch.testing.assert_close(direction_of(logits, y, loss), exact, atol=1e-12, rtol=0)


def test_the_direction_of_the_ratio_is_the_derivative_at_size_one():
    logits = torch.randn(6, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    y = logits.argsort(1, descending=True)[range(6), [0, 0, 0, 1, 1, 3]]  # right and wrong ones
    true, rows = logits[range(6), y], torch.arange(6)
    other = logits.scatter(1, y[:, None], -torch.inf).argmax(1)
    top = logits.argsort(1, descending=True)
    margin, spread = logits[rows, other] - true, logits[rows, top[:, 0]] - logits[rows, top[:, 2]]
    exact = torch.zeros_like(logits)  # the quotient rule, written out
    exact[rows, other] += 1 / spread
    exact[rows, y] -= 1 / spread
    exact[rows, top[:, 0]] -= margin / spread**2
    exact[rows, top[:, 2]] += margin / spread**2
    found = direction_of(logits, y, "dlr")
    torch.testing.assert_close(found, exact / exact.abs().amax(1, keepdim=True), atol=1e-9, rtol=0)
    torch.testing.assert_close(loss_of(logits, y, "dlr"), margin / spread, atol=1e-9, rtol=0)


def test_between_two_classes_the_ratio_is_the_margin():
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    y = torch.tensor([0, 1])
    assert loss_of(logits, y, "dlr").tolist() == [-3.0, -2.5]
    assert direction_of(logits, y, "dlr").tolist() == [[-1.0, 1.0], [1.0, -1.0]]


def test_only_rows_without_a_usable_gradient_are_computed_again():
    model = linear(1.0)
    with torch.no_grad():
        model.module[1].weight[:, 0] *= 3000.0
    x = X.clone()
    x[:3, 0, 0, 0] = 1.0
    x[3:, 0, 0, 0] = 0.0
    label = model.logits(x).argmax(1)
    view = ModelView(model, label, torch.arange(N), QueryCounter.empty(N))
    view.gradient(x, label)
    assert view.queries.backwards.squeeze(1).tolist() == [2, 2, 2, 1, 1, 1]


def test_spikes_without_a_derivative_cost_one_pass():
    view = view_of(deep(None))
    assert not view.gradient(X, Y).any()
    assert view.queries.backwards.squeeze(1).tolist() == [1] * N
    assert view.queries.zero_gradients.squeeze(1).tolist() == [1] * N
    assert view.queries.without_gradient().all()


def test_a_gradient_that_is_exactly_zero_stays_zero():
    class Constant(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * 0 + 1

    view = view_of(Model(Constant(), "digits/constant", 3))
    assert not view.gradient(X, Y).any()
    assert view.queries.backwards.squeeze(1).tolist() == [2] * N
    assert view.queries.zero_gradients.squeeze(1).tolist() == [2] * N
    assert view.queries.without_gradient().all()
