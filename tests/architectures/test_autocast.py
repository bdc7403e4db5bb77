"""Networks under autocast: convolutions in bfloat16, neurons and masks in float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from robench.architectures.activation import ClipFloorShift
from robench.spiking import spiking_layers
from tests.support.networks import ARCHITECTURES, network

IMAGES = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 3


def responses(net: nn.Module, *, autocast: bool) -> tuple[Tensor, Tensor]:
    """The logits, and the gradient of the loss at the images."""
    x = IMAGES.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        logits = net(x)
        loss = nn.functional.cross_entropy(logits, LABELS)
    loss.backward()
    assert x.grad is not None
    return logits.detach().float(), x.grad


@pytest.mark.parametrize("training", [True, False], ids=["training", "frozen"])
@pytest.mark.parametrize("mode", ["ann", "counterpart", "stbp"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_autocast_gives_nearly_the_same(architecture: str, mode: str, training: bool) -> None:
    counterpart = mode == "counterpart"
    net = network(architecture, "hybrid" if counterpart else mode, counterpart=counterpart)
    net = net.float().train(training).requires_grad_(training)
    types: list[torch.dtype] = []
    quantised = [layer for layer in net.modules() if isinstance(layer, ClipFloorShift)]
    for layer in (*spiking_layers(net), *quantised):
        layer.register_forward_hook(lambda module, inputs, spikes: types.append(spikes.dtype))
    exact, cast = (responses(net, autocast=on) for on in (False, True))
    assert set(types) <= {torch.float32}
    assert not torch.equal(exact[0], cast[0])
    assert cosine_similarity(exact[0].flatten(), cast[0].flatten(), dim=0) > 0.9
    if mode == "ann":  # rounding moves spikes, and a moved spike the gradient of all before it
        assert cosine_similarity(exact[1].flatten(), cast[1].flatten(), dim=0) > 0.8
    assert cast[1].isfinite().all()
    assert cast[1].any()
