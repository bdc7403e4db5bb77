import math
from dataclasses import replace

import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robench.spiking import LIF, PATHS, LIFParameters, Surrogate, direct, lif
from tests.support.lif_reference import lif_start, lif_step, spike

ATAN = Surrogate("atan", 2.0)
RESETS = ("subtract", "zero")
TOLERANCE = {"atol": 1e-9, "rtol": 1e-9}


@pytest.fixture(autouse=True)
def _forget_snntorch_neurons():
    yield
    snntorch.SpikingNeuron.instances.clear()  # this list keeps every neuron alive


def current(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.4 + torch.randn(*shape, generator=generator, dtype=torch.float64)


def weights_like(x):
    return current(*x.shape, seed=99)


def loop(x, p, surrogate):
    state = lif_start(x[0], p)
    spikes, membranes = [], []
    for step in x:
        s, state = lif_step(step, state, p, surrogate)
        spikes.append(s)
        membranes.append(state.membrane)
    return torch.stack(spikes), torch.stack(membranes)


def snntorch_loop(x, p, surrogate):
    neuron = snntorch.Leaky(
        beta=torch.tensor(p.beta, dtype=x.dtype),
        threshold=torch.tensor(p.threshold, dtype=x.dtype),
        spike_grad=lambda z: spike(z, surrogate),  # the stock ones return float32
        reset_mechanism=p.reset,
        reset_delay=True,
    )
    membrane = torch.full_like(x[0], p.initial * p.threshold)
    spikes, membranes = [], []
    for step in x:
        s, membrane = neuron(step, membrane)
        spikes.append(s)
        membranes.append(membrane)
    return torch.stack(spikes), torch.stack(membranes)


def textbook_loop(x, p, sharpness):
    v = torch.full_like(x[0], p.initial * p.threshold)
    s = torch.zeros_like(v)
    spikes = []
    for step in x:
        reset = s.detach() if p.detach_reset else s
        if p.reset == "subtract":
            v = p.beta * v + step - p.threshold * reset
        else:
            v = p.beta * v * (1 - reset) + step
        z = v - p.threshold
        smooth = torch.atan(math.pi * sharpness * z / 2) / math.pi
        s = (z > 0).to(z.dtype) + smooth - smooth.detach()
        spikes.append(s)
    return torch.stack(spikes)


def gradient(function, x):
    x = x.detach().clone().requires_grad_()
    out = function(x)
    (grad,) = torch.autograd.grad((out * weights_like(out)).sum(), x)
    return out.detach(), grad


@pytest.mark.parametrize("initial", [0.0, 0.5])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("beta", [0.5, 0.75, 1.0])
def test_both_forms_agree_with_snntorch(beta, reset, threshold, initial):
    p = LIFParameters(beta, threshold, reset, detach_reset=True, initial=initial)
    x = current(12, 4, 25)

    spikes, grad = gradient(lambda y: snntorch_loop(y, p, ATAN)[0], x)
    assert 0.1 < spikes.mean() < 0.9
    for ours in (lambda y: loop(y, p, ATAN)[0], lambda y: lif(y, p, ATAN)):
        our_spikes, our_grad = gradient(ours, x)
        assert torch.equal(our_spikes, spikes)
        torch.testing.assert_close(our_grad, grad, **TOLERANCE)

    membrane, grad = gradient(lambda y: snntorch_loop(y, p, ATAN)[1], x)
    our_membrane, our_grad = gradient(lambda y: loop(y, p, ATAN)[1], x)
    torch.testing.assert_close(our_membrane, membrane, **TOLERANCE)
    torch.testing.assert_close(our_grad, grad, **TOLERANCE)


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 1.0])
def test_gradient_is_that_of_a_plain_loop(beta, reset, detach_reset):
    p = LIFParameters(beta, 0.8, reset, detach_reset, initial=0.25)
    x = current(9, 3, 20)
    spikes, grad = gradient(lambda y: textbook_loop(y, p, 2.0), x)
    for ours in (lambda y: loop(y, p, ATAN)[0], lambda y: lif(y, p, ATAN)):
        our_spikes, our_grad = gradient(ours, x)
        assert torch.equal(our_spikes, spikes.round())
        torch.testing.assert_close(our_grad, grad, **TOLERANCE)


@pytest.mark.parametrize("reset", RESETS)
def test_the_reset_carries_gradient_only_where_it_is_not_detached(reset):
    p = LIFParameters(0.9, reset=reset, detach_reset=True)
    x = current(6, 2, 10)
    _, detached = gradient(lambda y: lif(y, p, ATAN), x)
    _, attached = gradient(lambda y: lif(y, replace(p, detach_reset=False), ATAN), x)
    assert not torch.allclose(attached, detached)
    assert torch.equal(attached[-1], detached[-1])


def transposed(x):
    return x.transpose(0, -1).contiguous().transpose(0, -1)


def every_second(x):
    return torch.stack([x, -x], -1).flatten(-2)[..., ::2]


LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": transposed,
    "strided": every_second,
    "constant": lambda x: direct(x[0], x.shape[0]),
}


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    beta=st.floats(0, 1),
    threshold=st.floats(0.05, 5),
    reset=st.sampled_from(RESETS),
    detach_reset=st.booleans(),
    initial=st.floats(0, 0.5),
    timesteps=st.integers(1, 6),
    batch=st.integers(1, 3),
    rest=st.lists(st.integers(1, 4), max_size=3),
    layout=st.sampled_from(sorted(LAYOUTS)),
    surrogate=st.sampled_from(
        [None, ATAN, Surrogate("triangle", 1.0), Surrogate("rectangle", 2.0)]
    ),
    seed=st.integers(0, 2**31),
)
def test_fused_neuron_equals_the_stepwise_one(
    beta, threshold, reset, detach_reset, initial, timesteps, batch, rest, layout, surrogate, seed
):
    p = LIFParameters(beta, threshold, reset, detach_reset, initial)
    x = current(timesteps, batch, *rest, seed=seed)
    arrange = LAYOUTS[layout]
    spikes, grad = gradient(lambda y: loop(arrange(y), p, surrogate)[0], x)
    fused_spikes, fused_grad = gradient(lambda y: lif(arrange(y), p, surrogate), x)
    assert torch.equal(fused_spikes, spikes)
    torch.testing.assert_close(fused_grad, grad, **TOLERANCE)


def test_layouts_are_what_their_names_say():
    x = current(3, 2, 4)
    assert not transposed(x).is_contiguous()
    assert not every_second(x).is_contiguous()
    assert torch.equal(transposed(x), x)
    assert torch.equal(every_second(x), x)


@pytest.mark.parametrize("reset", RESETS)
def test_without_a_surrogate_no_gradient_flows(reset):
    p = LIFParameters(0.9, reset=reset, detach_reset=False)
    for ours in (lambda y: loop(y, p, None)[0], lambda y: lif(y, p, None)):
        spikes, grad = gradient(ours, current(5, 2, 8))
        assert spikes.any()
        assert not grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_spikes_are_zero_or_one_in_the_type_of_the_input(dtype):
    spikes = lif(current(5, 2, 8).to(dtype), LIFParameters(), ATAN)
    assert spikes.dtype == dtype
    assert set(spikes.unique().tolist()) == {0.0, 1.0}


def test_a_membrane_at_the_threshold_does_not_spike():
    x = torch.tensor([[1.0], [0.5], [0.0625]])
    assert lif(x, LIFParameters(beta=0.5), None).flatten().tolist() == [0, 0, 0]


def test_an_initial_potential_at_the_threshold_does_not_spike_without_input():
    x = torch.zeros(4, 1)
    assert not lif(x, LIFParameters(beta=1.0, initial=1.0), None).any()


@pytest.mark.parametrize(
    ("reset", "currents", "expected"),
    [
        # v = 2.5, 1.75, 1.375, 1, 1.25
        ("subtract", [2.5, 0.25, 0.625, 0.625, 0.25], [1, 1, 1, 0, 1]),
        # v = 2.5, 0.25, 1.125, 0.75, 1.25
        ("zero", [2.5, 0.25, 0.875, 0.75, 0.5], [1, 0, 1, 0, 1]),
    ],
)
def test_an_if_neuron_resets_as_by_hand(reset, currents, expected):
    spikes = lif(torch.tensor(currents)[:, None], LIFParameters(beta=1.0, reset=reset), None)
    assert spikes.flatten().tolist() == expected


def test_calls_change_neither_input_nor_state():
    p = LIFParameters()
    x = current(4, 2, 6)
    before = x.clone()
    lif(x, p, ATAN)
    state = lif_start(x[0], p)
    copies = [part.clone() for part in state]
    lif_step(x[0], state, p, ATAN)
    assert torch.equal(x, before)
    assert all(torch.equal(a, b) for a, b in zip(state, copies, strict=True))


# The membrane must not leak from one batch, or one attack step, into the next.
@pytest.mark.parametrize("reset", RESETS)
def test_state_of_one_call_does_not_leak_into_the_next(reset):
    first, second = current(4, 3, 6), current(4, 3, 6, seed=1)
    p = LIFParameters(0.9, reset=reset)
    layer = LIF(p, ATAN)
    fresh = layer(second)
    stored = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(first)
    assert torch.equal(layer(second), fresh)
    assert torch.equal(layer(second[:, :1]), fresh[:, :1])
    assert list(stored) == ["threshold"]
    assert torch.equal(layer.state_dict()["threshold"], stored["threshold"])
    assert [name for name, _ in layer.named_buffers()] == ["threshold"]


def test_the_module_is_the_function():
    p = LIFParameters(0.75, 0.5, "zero", detach_reset=False, initial=0.5)
    x = current(5, 2, 7)
    spikes, grad = gradient(lambda y: lif(y, p, ATAN), x)
    module_spikes, module_grad = gradient(LIF(p, ATAN), x)
    assert torch.equal(module_spikes, spikes)
    assert torch.equal(module_grad, grad)


def test_a_stored_threshold_decides_and_grades_the_spikes():
    layer = LIF(LIFParameters(), ATAN, graded=True).double()
    layer.load_state_dict({"threshold": torch.tensor(0.5)})
    x = current(5, 2, 7)
    assert torch.equal(layer(x), 0.5 * lif(x, LIFParameters(threshold=0.5), ATAN))


@pytest.mark.parametrize("trained_detached", [True, False])
@pytest.mark.parametrize(
    ("path", "detached"), [("stbp", None), ("stbp-reset", False), ("stbp-detached", True)]
)
def test_the_gradient_path_decides_about_the_reset(path, detached, trained_detached):
    layer = LIF(LIFParameters(detach_reset=trained_detached), ATAN)
    layer.gradient_path = PATHS[path]
    expected = trained_detached if detached is None else detached
    assert layer.neuron().detach_reset is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("beta", -0.01),
        ("beta", 1.01),
        ("beta", math.nan),
        ("threshold", 0.0),
        ("threshold", -1.0),
        ("threshold", math.nan),
        ("reset", "none"),
        ("initial", 1.01),
        ("initial", math.nan),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must"):
        LIFParameters(**{name: value})
