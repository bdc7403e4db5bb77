"""Adaptive surrogates, and the statistics of the neurons of an attacked row."""

import math
from contextlib import nullcontext

import pytest
import torch

from robench.attacks.sapgd import SAPGDState
from robench.errors import UsageError
from robench.spiking import (
    LIF,
    LIFParameters,
    NeuronStatistics,
    Recorder,
    Surrogate,
    kernels,
    lif,
)
from robench.spiking.adaptive_surrogates import assg, pdsg, place_of, slopes
from tests.support.lif_reference import lif_start, lif_step
from tests.support.two_layers import Two, X, Y, model_of, view_of

ASSG = Surrogate("assg", 0.425)
PDSG = Surrogate("pdsg", 1.0)
CLOSE = {"atol": 1e-9, "rtol": 1e-9}


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pdsg_is_the_density_of_its_formula():
    z = draw(3, 2, 4, 3, 3)
    found = pdsg(z)
    for t in range(3):
        for n in range(2):
            for c in range(4):
                values = z[: t + 1, n, c].flatten().tolist()
                mean = sum(values) / len(values)
                variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
                sigma = math.sqrt(variance)
                here = z[t, n, c]
                expected = torch.exp(-((here - sigma / 2) ** 2) / (2 * variance))
                expected = expected / (sigma * math.sqrt(2 * math.pi))
                torch.testing.assert_close(found[t, n, c], expected, **CLOSE)


def test_pdsg_depends_on_no_other_sample():
    z = draw(3, 4, 2, 5, 5)
    assert torch.equal(pdsg(z)[:, 1:2], pdsg(z[:, 1:2]))


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 3, 4, 1, 1), (2, 3)])
def test_pdsg_without_a_spread_has_sigma_one(shape):
    one = 1 / math.sqrt(2 * math.pi)
    found = pdsg(torch.full(shape, 0.5, dtype=torch.float64))
    torch.testing.assert_close(found, torch.full_like(found, one), **CLOSE)


def test_assg_has_the_published_constants():
    z = torch.tensor([0.3, -2.0], dtype=torch.float64)
    mean, deviation = torch.ones_like(z), torch.zeros_like(z)
    slope, mean, deviation = assg(z, 0.425, mean, deviation)
    a = 2 * math.tan(math.pi * 0.425) / math.pi
    assert a == pytest.approx(2.651, abs=1e-3)
    for k, value in enumerate((0.3, 2.0)):
        m = 0.9 * 1 + 0.1 * value
        d = 0.9 * 0 + 0.1 * abs(value - m)
        alpha = a / (m + 1.5 * d + 1e-4)
        expected = alpha / 2 / (1 + (math.pi / 2 * alpha * value) ** 2)
        assert float(slope[k]) == pytest.approx(expected, rel=1e-12)
        assert float(mean[k]) == pytest.approx(m, rel=1e-12)
        assert float(deviation[k]) == pytest.approx(d, rel=1e-12)


def by_hand(net, x, y, statistics):
    """Gradient of the cross-entropy of one image, step by step; updates ``statistics``."""
    x = x[None].clone().requires_grad_()
    hidden = [x.flatten(1) @ net.first] * 3
    for layer in range(2):
        v, spikes = torch.zeros_like(hidden[0]), []
        s = torch.zeros_like(v)
        for t in range(3):
            v = 0.5 * v + hidden[t] - s.detach()
            z = v - 1
            m, d = statistics.get((layer, t), (torch.ones_like(v), torch.zeros_like(v)))
            m = 0.9 * m + 0.1 * z.abs().detach()
            d = 0.9 * d + 0.1 * (z.detach().abs() - m).abs()
            statistics[layer, t] = m, d
            alpha = 2 * math.tan(math.pi * 0.425) / math.pi / (m + 1.5 * d + 1e-4)
            smooth = torch.atan(math.pi / 2 * alpha * z) / math.pi
            s = (z > 0).double() + smooth - smooth.detach()
            spikes.append(s)
        hidden = spikes if layer else [s @ net.second for s in spikes]
    logits = sum(hidden) / 3 @ net.head
    loss = torch.nn.functional.cross_entropy(logits, y[None])
    return torch.autograd.grad(loss, x)[0][0]


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
def test_assg_follows_each_row_over_the_steps_of_an_attack(plain):
    net = Two(LIFParameters(0.5))
    view = view_of(model_of(net))
    statistics = NeuronStatistics.empty(len(X))
    references = [{} for _ in X]
    images = X.clone()
    for step in range(3):
        # some rows join later: their statistics start then
        rows = torch.arange(len(X)) if step else torch.tensor([0, 2])
        part = statistics[rows]
        view.labels, view.samples = Y[rows], rows
        if plain:
            with kernels.reference():
                found = view.gradient(images[rows], Y[rows], surrogate=ASSG, statistics=part)
        else:
            found = view.gradient(images[rows], Y[rows], surrogate=ASSG, statistics=part)
        statistics[rows] = part
        for place, row in enumerate(rows.tolist()):
            expected = by_hand(net, images[row], Y[row], references[row])
            torch.testing.assert_close(found[place], expected, **CLOSE)
        images = (images + 0.1 * draw(*X.shape, seed=step)).clamp(0, 1)


def test_without_statistics_every_gradient_is_the_first():
    view = view_of(model_of(Two(LIFParameters(0.5))))
    first = view.gradient(X, Y, surrogate=ASSG)
    assert torch.equal(view.gradient(X, Y, surrogate=ASSG), first)
    statistics = NeuronStatistics.empty(len(X))
    assert torch.equal(view.gradient(X, Y, surrogate=ASSG, statistics=statistics), first)
    assert not torch.allclose(view.gradient(X, Y, surrogate=ASSG, statistics=statistics), first)
    before = statistics.entries[0].clone()
    view.gradient(X, Y, surrogate=Surrogate("atan", 2.0), statistics=statistics)
    assert torch.equal(statistics.entries[0], before)


@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "plain"])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 5), (3, 2, 4, 3, 3)])
def test_scaled_assg_starts_at_the_scale_of_its_first_gradient(plain, shape):
    v = 1 + draw(*shape)
    if v.dim() == 5:
        v = v.movedim(2, -1).contiguous().movedim(-1, 2)
    surrogate = Surrogate("assg_scaled", 0.425)
    amplitude = 2 * math.tan(math.pi * 0.425) / math.pi
    recorder = Recorder([None] * 2)
    with recorder.recording():
        place = place_of(surrogate, v)
    with kernels.reference() if plain else nullcontext():
        found = slopes(surrogate, v, 0.6, place)
    again = Recorder(recorder.entries())
    with again.recording():
        place = place_of(surrogate, v)
    with kernels.reference() if plain else nullcontext():
        second = slopes(surrogate, v, 0.6, place)
    for row in range(2):
        z = v[:, row] - 0.6
        mean, deviation = z.abs(), 0.9 * z.abs().mean() / 3  # M = |z|, so its deviation decays
        for expected in (found, second):
            alpha = amplitude / (mean + 1.5 * deviation + 1e-4)
            slope = alpha / 2 / (1 + (math.pi / 2 * alpha * z) ** 2)
            torch.testing.assert_close(expected[:, row], slope, **CLOSE)
            deviation = 0.9 * deviation


@pytest.mark.parametrize("steps", [(3, 2), (2, 3)], ids=["shorter", "longer"])
def test_a_call_that_is_shorter_or_longer_keeps_the_statistics_of_its_beginning(steps):
    before = None
    for count in steps:
        recorder = Recorder([None] * 2 if before is None else before)
        with recorder.recording():
            for step in range(count):
                place = place_of(ASSG, torch.zeros(1, 2, 5), strict=False)
                known = before is not None and step < min(steps)
                assert place.new.tolist() == [not known] * 2
                assert (place.statistics[:, 0] == (step + 2 if known else 1)).all()
                place.statistics[:, 0] = step + 2
        before = recorder.entries()
        assert [len(entry) for entry in before] == [count * 10] * 2


def test_rows_of_calls_of_different_length_have_their_beginning_in_common():
    recorder = Recorder([torch.arange(20.0), torch.arange(10.0)])
    with recorder.recording():
        first, second = (place_of(ASSG, torch.zeros(1, 2, 5), strict=False) for _ in range(2))
    assert torch.equal(first.statistics.flatten(1), torch.arange(10.0).repeat(2, 1))
    assert second.new.all()


def test_statistics_of_another_network_are_refused():
    statistics = NeuronStatistics([torch.zeros(5, dtype=torch.float64)] * len(X))
    with pytest.raises(ValueError, match="another network"):
        view_of(model_of(Two(LIFParameters()))).gradient(
            X, Y, surrogate=ASSG, statistics=statistics
        )


@pytest.mark.parametrize("surrogate", [ASSG, PDSG], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
def test_kernels_and_plain_code_agree(surrogate, layout):
    x = 1 + draw(4, 2, 3, 5, 5)
    if layout == "channels last":
        x = x.movedim(2, -1).contiguous().movedim(-1, 2)

    def gradient():
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = lif(leaf, LIFParameters(0.7, detach_reset=False), surrogate)
        return torch.autograd.grad((out * draw(*x.shape, seed=5)).sum(), leaf)[0]

    found = gradient()
    with kernels.reference():
        torch.testing.assert_close(gradient(), found, **CLOSE)
    assert found.any()


def test_a_single_step_has_no_adaptive_surrogate():
    x = torch.ones(2, 3, requires_grad=True)
    spikes, _ = lif_step(x, lif_start(x, LIFParameters()), LIFParameters(), PDSG)
    with pytest.raises(ValueError, match="all time steps"):
        spikes.sum().backward()
    assert LIF(LIFParameters(), PDSG)(x[None]).shape == (1, 2, 3)


def test_the_bound_of_assg_lies_below_a_half():
    with pytest.raises(UsageError, match=r"below 0\.5"):
        Surrogate.parse("assg(0.5)")
    assert Surrogate.parse("assg") == ASSG
    assert Surrogate.parse("pdsg") == PDSG


def test_a_state_has_statistics_like_any_other_field():
    entries = [torch.tensor([float(k)]) for k in range(4)]
    n = torch.arange(4)
    state = SAPGDState(n, n, n, n, n, NeuronStatistics(entries))
    part = state.rows(torch.tensor([3, 1]))
    assert [float(entry) for entry in part.statistics.entries] == [3.0, 1.0]
    part.statistics.entries[0] = None
    state.assign(torch.tensor([3, 1]), part)
    assert state.statistics.entries[3] is None
    assert [entry is None for entry in entries] == [False] * 4
    state.release(torch.tensor([False, True, False, False]))
    assert [entry is None for entry in state.statistics.entries] == [False, True, False, True]
