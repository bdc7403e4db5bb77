"""The node that takes the place of a step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from robench.spiking import Surrogate
from robench.spiking.discovery.classify import classify
from robench.spiking.discovery.steps import Stairs
from robench.spiking.discovery.swap import sloped, straight_through, surrogate_slope


class _Allocations(TorchDispatchMode):
    """Counts the new tensors of a size."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.count = size, 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and out.numel() == self.size:
            self.count += not any(out is arg for arg in (*args, *(kwargs or {}).values()))
        return out


@pytest.mark.parametrize(
    ("name", "count"), [("atan(2)", 2), ("triangle(1)", 2), ("rectangle(1)", 4)]
)
def test_a_replaced_spike_takes_few_new_tensors(name: str, count: int) -> None:
    surrogate = Surrogate.parse(name)
    assert surrogate is not None
    z = torch.randn(50, 7, requires_grad=True)
    slope = surrogate_slope(surrogate, torch.tensor(0.5), 2.0, -3.0)
    out = sloped(z, (z > 0.5).float(), slope)
    grad = torch.randn(50, 7)
    with _Allocations(z.numel()) as seen:
        (found,) = torch.autograd.grad(out, z, grad)
    assert seen.count == count  # z − t, and what the surrogate takes
    expected = grad * (surrogate.derivative((z.detach() - 0.5) / 2) * -1.5)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["atan(2)", "straight_through(1)", "pdsg(1)", "assg(0.4)"])
@pytest.mark.parametrize("height", [2.0, torch.full((4, 3, 2, 2), 2.0)], ids=["one", "each"])
def test_the_gradient_has_the_layout_of_the_product(name: str, height: Tensor | float) -> None:
    surrogate = Surrogate.parse(name)
    assert surrogate is not None
    z = torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last).requires_grad_()
    slope = surrogate_slope(surrogate, torch.tensor(0.0), 1.0, height)
    grad = torch.randn(4, 1, 1, 1).expand(4, 3, 2, 2)
    before = grad.clone()
    (found,) = torch.autograd.grad(sloped(z, (z > 0).float(), slope), z, grad)
    product = grad * slope(z.detach())
    assert torch.equal(found, product)
    assert found.stride() == product.stride()
    assert torch.equal(grad, before)


def stairs_of(low: float, high: float) -> Stairs:
    """Of four levels, seen between two ends."""
    z = torch.linspace(low, high, 400).requires_grad_()
    kind, (found,) = classify((z,), (z.clamp(0, 3) + 0.5).floor())
    assert kind == "quantiser"
    assert isinstance(found, Stairs)
    return found


def test_no_gradient_passes_where_a_quantiser_is_flat() -> None:
    flat = stairs_of(-4, 7)
    assert flat.ends == pytest.approx((-0.5, 3.5), abs=0.1)
    z = torch.tensor([-2.0, 0.2, 1.7, 3.2, 5.0])
    slopes = straight_through(flat.slope, flat.ends)(z)
    assert slopes.tolist() == pytest.approx([0, 1, 1, 1, 0], abs=0.05)
    unseen = stairs_of(-4, 2.8)  # there may be more levels above
    assert unseen.ends[1] == float("inf")
    assert straight_through(unseen.slope, unseen.ends)(z)[-1] == pytest.approx(1, abs=0.05)
