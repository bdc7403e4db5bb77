import pytest
import torch

from robench.architectures import VGG, ClipFloorShift
from robench.spiking import LIF, LIFParameters, direct, spiking_layers
from tests.support.networks import CLOSE, PLAN, configuration, for_every_network, images


@pytest.mark.parametrize("levels", [1, 4, 8])
@pytest.mark.parametrize("threshold", [0.5, 1.0, 4.0])
def test_an_if_neuron_fires_the_quantised_relu(threshold, levels):
    x = torch.linspace(-1.5, 2.5, 1003, dtype=torch.float64) * threshold
    quantised = ClipFloorShift(levels, threshold).double()
    neuron = LIF(LIFParameters(beta=1.0, threshold=threshold, initial=0.5), None, graded=True)
    fired = neuron(direct(x, levels)).mean(0)
    torch.testing.assert_close(fired, quantised(x).detach(), **CLOSE)
    assert len(quantised(x).unique()) == levels + 1


def test_the_quantised_relu_is_its_formula_with_a_straight_through_floor():
    quantised = ClipFloorShift(4, 2.0).double()
    x = torch.tensor([-1.0, 0.2, 0.3, 1.1, 1.9, 5.0], dtype=torch.float64, requires_grad=True)
    y = quantised(x)
    assert y.tolist() == [0.0, 0.0, 0.5, 1.0, 2.0, 2.0]
    grad, threshold_grad = torch.autograd.grad(y.sum(), [x, quantised.threshold])
    assert grad.tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    assert threshold_grad.isfinite()


def test_a_hybrid_layer_of_a_network_is_that_of_its_counterpart():
    config = configuration("vgg16", "hybrid", timesteps=8)
    deployed = VGG(config, plan=(6, 8)).double().eval()
    counterpart = VGG(config, plan=(6, 8), counterpart=True).double().eval()
    counterpart.load_state_dict(deployed.state_dict())
    x = images()
    normalised = direct((x - counterpart.mean) / counterpart.std, 8)
    spiking, quantised = deployed.features[:2], counterpart.features[:2]
    torch.testing.assert_close(spiking(normalised).mean(0), quantised(normalised[:1])[0], **CLOSE)


@for_every_network
def test_the_counterpart_takes_the_same_weights_and_no_time(architecture, mode):
    config = configuration(architecture, mode)
    counterpart = VGG(config, plan=PLAN, counterpart=True)
    assert counterpart.timesteps == 1
    assert not spiking_layers(counterpart)
    if mode != "stbp":  # an STBP neuron's threshold is saved, and a ReLU has none
        VGG(config, plan=PLAN).load_state_dict(counterpart.state_dict(), strict=True)
