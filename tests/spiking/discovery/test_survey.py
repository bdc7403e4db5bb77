"""What is found in networks of several libraries and styles."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.function import _SingleLevelFunction
from torch.utils.checkpoint import checkpoint

from robench.spiking import Surrogate
from robench.spiking.discovery import substituted, survey
from robench.spiking.discovery.interception import intercepting
from tests.support.spiking_styles import (
    LOST,
    MEASURED,
    STYLES,
    TRIANGLE,
    Above,
    Fused,
    T,
    Timed,
    X,
    gradient,
    own_gradient,
    steep,
    styled,
)


@pytest.fixture(scope="module")
def reference() -> Tensor:
    """The gradient of the network that has the triangle in its own backward pass."""

    class Own(Above):
        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:
            (z,) = ctx.saved_tensors
            return grad * (1 - z.abs()).clamp(min=0)

    class Net(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return Own.apply(v - 1)

    return own_gradient(Net().requires_grad_(False))


@pytest.mark.parametrize("name", STYLES)
def test_every_style_is_found_and_gets_the_gradient_of_the_surrogate(
    name: str, reference: Tensor
) -> None:
    net = styled(name)
    found = survey(net, net, X)
    assert found.replaced
    assert not found.refused
    assert not found.own
    assert {spike.calls for spike in found.spikes} == {2 * T}
    mine = gradient(net)
    # the unit of z is the threshold, 1, where it shows, and the typical distance elsewhere
    similarity = nn.functional.cosine_similarity(mine.flatten(1), reference.flatten(1))
    assert (similarity > 0.9).all()
    if name not in MEASURED:
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", LOST)
def test_numbers_of_a_comparison_that_are_not_followed_are_on_record(name: str) -> None:
    net = styled(name)
    found = survey(net, net, X)
    assert any("gt in spiking_styles.py" in kept for kept in found.own)
    assert not found.refused


@pytest.mark.parametrize("spiking", [True, False])
def test_a_comparison_that_never_changes_is_on_record_in_a_spiking_network(spiking: bool) -> None:
    """In another one it is a guard."""

    class Net(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return (v > 1).float() if spiking else v.tanh()

        def forward(self, x: Tensor) -> Tensor:
            high = (x.flatten(1)[:, :10] > 2).float()
            return super().forward(x) + high

    net = Net().requires_grad_(False)
    found = survey(net, net, X)
    assert [kept.partition(":")[0] for kept in found.own] == ["gt in test_survey.py"] * spiking
    assert all("(1 calls, constant on clean images)" in kept for kept in found.own)


def test_a_network_gets_what_it_would_get_without_the_mode() -> None:
    """Masks stay masks, indices stay indices, and names of arguments are those of torch."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            v, r = x.flatten(1) * 3, x.flatten(1) - 0.5
            v = v.masked_fill((v > 0.3) * (r <= 0), 0.0)
            z = torch.zeros_like(v)
            z[(v > 1) * (v < 50)] = 1.0
            z = z + torch.tensor([1.0, 2.0])[(v > 1.0) * 1]
            z = z + torch.round(input=v) + torch.floor(input=v) + torch.sign(input=r)
            z = z + torch.div(v, other=2.0, rounding_mode="floor")
            if (v > 1).any() and bool((v > 1).all(0)[0]) >= 0:
                z = z + 1
            return z[:, :10]

    found = survey(Net(), Net(), X)
    assert not found.refused
    assert len(found.quantisers) == 3
    gradient(Net())


@pytest.mark.parametrize("scale", [0.1, 20.0])
def test_a_scaled_membrane_gives_the_same_direction(scale: float) -> None:
    class Scaled(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return steep(scale * (v - 1))

    class Once(Timed):
        def spike(self, v: Tensor) -> Tensor:
            return steep(v - 1)

    one, other = (gradient(kind().requires_grad_(False)) for kind in (Once, Scaled))
    torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-3)


def test_roundings_get_the_straight_through_estimator() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.floor(x * 8 + 0.5) / 8
            return ((x * 4).round() / 4 + (x // 0.25) * 0.25).flatten(1)[:, :10]

    found = survey(Rounded(), Rounded(), X)
    assert found.replaced
    assert not found.spikes
    assert len(found.quantisers) == 3
    leaf = X.clone().requires_grad_()
    with substituted(found, Rounded(), TRIANGLE) as network:
        (mine,) = torch.autograd.grad(network(leaf).sum(), leaf)
    assert torch.equal(mine.flatten(1)[:, :10], torch.full((16, 10), 2.0))


def test_roundings_in_place() -> None:
    class Rounded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return ((x * 8).round_() + (x * 4).floor_().ceil_()).flatten(1)[:, :10]

    found = survey(Rounded(), Rounded(), X)
    assert len(found.quantisers) == 3
    assert gradient(Rounded()).flatten(1)[:, :5].eq(12).all()


def test_what_is_no_step_keeps_its_gradient_and_is_named() -> None:
    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Fused.apply((x.flatten(1) * 2).expand(T, len(x), 192)).mean(0)

    found = survey(Net(), Net(), X)
    assert not found.replaced
    (name,) = found.own
    assert "Fused (1 calls)" in name
    assert "not replaced" in str(found)


@pytest.mark.parametrize("surrogate", ["pdsg", "assg(0.425)", "assg_scaled(0.425)", "rectangle(1)"])
def test_every_surrogate_differentiates_every_kind_of_step(surrogate: str) -> None:
    chosen = Surrogate.parse(surrogate)
    assert chosen is not None
    for name in ("bound early", "compare and cast"):
        found = gradient(styled(name), chosen)
        assert found.isfinite().all()
        assert found.any()


def test_other_threads_and_the_classes_of_torch_are_left_alone() -> None:
    net, seen = styled("bound early"), []
    leaf = X.clone().requires_grad_()
    own = torch.autograd.grad(net(leaf).sum(), leaf)[0]

    def other() -> None:
        copy = X.clone().requires_grad_()
        seen.append(torch.autograd.grad(net(copy).sum(), copy)[0])

    found = survey(net, net, X)
    with substituted(found, net, TRIANGLE) as network:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        mine = torch.autograd.grad(network(leaf).sum(), leaf)[0]
    assert torch.equal(seen[0], own)
    assert not torch.allclose(mine, own)
    assert "apply" not in vars(_SingleLevelFunction)
    assert torch.equal(torch.autograd.grad(net(leaf).sum(), leaf)[0], own)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_stays_after_an_exception(error: type[BaseException]) -> None:
    class Failing(Timed):
        fails = False

        def spike(self, v: Tensor) -> Tensor:
            if self.fails:
                raise error
            return steep(v - 1)

    net = Failing().requires_grad_(False)
    found = survey(net, net, X)
    net.fails = True
    with pytest.raises(error), substituted(found, net, TRIANGLE) as network:
        network(X.clone().requires_grad_())
    with pytest.raises(error):
        survey(net, net, X)
    assert "apply" not in vars(_SingleLevelFunction)
    assert not net._forward_hooks
    net.fails = False
    assert gradient(net).any()


def test_contexts_nest_and_end_in_any_order() -> None:
    class Count:
        calls = 0

        def called(self, function: type, args: tuple[Any, ...], out: Any) -> Any:
            self.calls += 1
            return out

    outer, inner = Count(), Count()
    with intercepting(outer):
        steep(torch.ones(1))
        with intercepting(inner):
            steep(torch.ones(1))
        steep(torch.ones(1))
    assert (outer.calls, inner.calls) == (2, 1)


def test_checkpointed_activations() -> None:
    class Checkpointed(Timed):
        def __init__(self, style: str) -> None:
            super().__init__()
            self.style = style

        def spike(self, v: Tensor) -> Tensor:
            return checkpoint(STYLES[self.style], v, use_reentrant=False)

    torch.testing.assert_close(
        gradient(Checkpointed("bound early").requires_grad_(False)), gradient(styled("bound early"))
    )
    net = Checkpointed("compare and cast").requires_grad_(False)
    found = survey(net, net, X)
    assert not found.replaced  # the comparison is computed again where no mode sees it
    assert "CheckpointError" in str(found)
