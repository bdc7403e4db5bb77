import pytest
import torch
from snntorch import spikegen

from robench.spiking import direct, is_constant, over_time, rate


def numbers(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_direct_repeats_the_image_without_a_copy():
    x = numbers(2, 3, 4, 4)
    sequence = direct(x, 5)
    assert sequence.shape == (5, 2, 3, 4, 4)
    assert sequence.data_ptr() == x.data_ptr()
    assert sequence.stride(0) == 0
    assert all(torch.equal(step, x) for step in sequence)


def test_direct_sums_the_gradient_over_time():
    x = numbers(2, 3, 4, 4).requires_grad_()
    weights = numbers(5, 2, 3, 4, 4, seed=1)
    (grad,) = torch.autograd.grad((direct(x, 5) * weights).sum(), x)
    torch.testing.assert_close(grad, weights.sum(0))


def test_only_a_repeated_step_is_constant():
    x = numbers(2, 3, 4, 4)
    assert is_constant(direct(x, 5))
    assert not is_constant(direct(x, 1))
    assert not is_constant(direct(x, 5).clone())


def test_over_time_gives_the_same_on_a_constant_as_on_its_copy():
    x = numbers(2, 3, 4, 4).requires_grad_()
    convolution = torch.nn.Conv2d(3, 5, 3, padding=1, dtype=torch.float64)
    weights = numbers(4, 2, 5, 4, 4, seed=1)
    results = []
    for sequence in (direct(x, 4), direct(x, 4).clone()):
        y = over_time(convolution, sequence)
        assert y.shape == (4, 2, 5, 4, 4)
        results.append((y, *torch.autograd.grad((y.tanh() * weights).sum(), x)))
    for once, each in zip(*results, strict=True):
        torch.testing.assert_close(once, each, atol=1e-12, rtol=1e-12)


def test_over_time_computes_a_constant_once():
    seen = []
    over_time(lambda y: seen.append(y.shape[0]) or y, direct(numbers(2, 3), 7))
    assert seen == [2]


def test_over_time_treats_each_step_on_its_own():
    x = numbers(4, 2, 3)
    y = over_time(lambda step: step * 2 + 1, x)
    assert torch.equal(y, torch.stack([step * 2 + 1 for step in x]))


def test_rate_spikes_with_the_probability_of_the_intensity():
    x = numbers(1, 1, 4, 5)
    timesteps = 4000
    spikes = rate(x, numbers(timesteps, 1, 1, 4, 5, seed=1))
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    error = (x * (1 - x) / timesteps).sqrt()
    assert ((spikes.mean(0) - x).abs() < 5 * error).all()


def test_rate_is_certain_at_the_ends():
    uniform = numbers(200, 1, 1, 2, 2)
    assert not rate(torch.zeros(1, 1, 2, 2), uniform).any()
    assert rate(torch.ones(1, 1, 2, 2), uniform).all()


def test_rate_passes_the_gradient_straight_through():
    x = numbers(2, 3, 4, 4).requires_grad_()
    weights = numbers(5, 2, 3, 4, 4, seed=1)
    (grad,) = torch.autograd.grad((rate(x, numbers(5, 2, 3, 4, 4, seed=2)) * weights).sum(), x)
    torch.testing.assert_close(grad, weights.sum(0))


def test_rate_keeps_the_type_and_repeats_with_its_numbers():
    x, uniform = numbers(1, 1, 4, 4).float(), numbers(6, 1, 1, 4, 4, seed=3)
    assert rate(x, uniform).dtype == torch.float32
    assert torch.equal(rate(x, uniform), rate(x, uniform))


@pytest.mark.parametrize("statistic", ["mean", "variance", "lag"])
def test_rate_agrees_with_snntorch_in_distribution(statistic):
    timesteps = 4000
    x = numbers(1, 1, 4, 5)
    ours = rate(x, numbers(timesteps, 1, 1, 4, 5, seed=4))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        theirs = spikegen.rate(x, num_steps=timesteps)
    assert theirs.shape == ours.shape
    measure = {
        "mean": lambda s: s.mean(0),
        "variance": lambda s: s.var(0),
        "lag": lambda s: (s[1:] * s[:-1]).mean(0),
    }[statistic]
    # five standard errors of a difference of two means of numbers in [0, 1], lag-1 dependence in
    assert ((measure(ours) - measure(theirs)).abs() < 5 * (1.5 / timesteps) ** 0.5).all()
