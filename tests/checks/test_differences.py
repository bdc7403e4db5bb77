"""Gradients beside the changes of the logits at the scale of an attack."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from robench.checks.differences import _blocks
from tests.support.faulty_networks import Around
from tests.support.model_checks import checks_of, seeded
from tests.support.spiking_digits import Bare, trained

GENERATOR = torch.Generator().manual_seed(0)
SOME = (torch.rand((1, 3, 32, 32), generator=GENERATOR) < 0.35).float()
HIDING: dict[str, Callable[[Tensor], Tensor]] = {
    "red alone": lambda x: torch.cat([x[:, :1], x[:, 1:].detach()], 1),
    "some rows": lambda x: torch.cat([x[:, :, :12], x[:, :, 12:].detach()], 2),
    "some pixels": lambda x: x * SOME + x.detach() * (1 - SOME),
}


class Behind(nn.Module):
    """A spiking network behind something."""

    def __init__(self, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.before = trained(Bare()), before

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.before(x))


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.parametrize("around", [Around, Behind], ids=["ann", "spiking"])
def test_pixels_without_a_gradient_are_found(around: type[nn.Module], name: str) -> None:
    found = checks_of(around(HIDING[name]))["pixels"]
    assert found.reason == "pixels-without-gradient"
    assert 0.5 < found.value < 0.7


@pytest.mark.parametrize(
    "before",
    [
        lambda x: x,
        lambda x: nn.functional.pad(x[..., 4:28, 4:28], (4, 4, 4, 4)),  # a border without effect
        lambda x: nn.functional.max_pool2d(x, 2).repeat_interleave(2, 2).repeat_interleave(2, 3),
    ],
    ids=["whole", "cropped", "largest of four"],
)
@pytest.mark.parametrize("around", [Around, Behind], ids=["ann", "spiking"])
def test_pixels_without_an_effect_need_no_gradient(
    around: type[nn.Module], before: Callable[[Tensor], Tensor]
) -> None:
    assert checks_of(around(before))["pixels"].verdict == "valid"


class Shortcut(nn.Module):
    """Spikes beside a smooth way, so that the gradient is not zero without them."""

    def __init__(self, spike: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.last, self.beside = (
            nn.Linear(192, 80),
            nn.Linear(80, 10),
            nn.Linear(80, 10),
        )
        self.spike = spike

    def forward(self, x: Tensor) -> Tensor:
        v = 2 * self.first((nn.functional.avg_pool2d(x, 4).flatten(1) - 0.5) * 4)
        return 3 * self.last(self.spike(v)) + 0.3 * self.beside(v)


@pytest.mark.parametrize(
    "spike",
    [
        lambda z: torch.vmap(lambda a: (a > 0).float())(z),
        lambda z: torch.stack([torch.zeros_like(z), z]).argmax(0).float(),
        lambda z: (1e4 * z).clamp(0, 1),
        lambda z: torch.bucketize(z.detach(), torch.zeros(1)).float(),
        lambda z: z.relu().bool().float(),
    ],
    ids=["vmap", "argmax", "clamp", "bucketize", "bool"],
)
def test_hidden_spikes_beside_a_smooth_way_are_found(spike: Callable[[Tensor], Tensor]) -> None:
    found = checks_of(seeded(lambda: Shortcut(spike)))["agreement"]
    assert found.reason == "own-gradient-is-no-derivative"


@pytest.mark.parametrize("smooth", [torch.sigmoid, torch.relu, lambda z: (z > 0).float()])
def test_what_is_smooth_or_seen_is_not(smooth: Callable[[Tensor], Tensor]) -> None:
    assert checks_of(seeded(lambda: Shortcut(smooth)))["agreement"].verdict == "valid"


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 1, 28, 28), (2, 3, 9, 10), (2, 4, 2, 8, 8)])
def test_blocks_have_one_sign(shape: tuple[int, ...]) -> None:
    signs = _blocks(torch.zeros(shape), torch.Generator().manual_seed(0))
    assert signs.shape == shape
    assert set(signs.unique().tolist()) == {-1.0, 1.0}
    assert (signs[..., :4, :4] == signs[..., :1, :1]).all()
