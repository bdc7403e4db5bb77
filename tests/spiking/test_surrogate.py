import math

import pytest
import snntorch.surrogate
import torch

from robench.errors import UsageError
from robench.spiking import Surrogate, surrogate_names
from tests.support.lif_reference import spike

Z = torch.linspace(-3, 3, 241)
ADAPTIVE = ("pdsg", "assg", "assg_scaled")  # adaptive: they depend on the membrane
ELEMENTWISE = [name for name in surrogate_names() if name not in ADAPTIVE]


def gradient(function, z):
    z = z.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(function(z).sum(), z)
    return grad


CLOSED_FORMS = {
    "atan": lambda z, a: (a / 2) / (1 + (math.pi * a * z / 2) ** 2),
    "triangle": lambda z, g: max(0.0, g - abs(z)) / g**2,
    "fast_sigmoid": lambda z, k: 1 / (k * abs(z) + 1) ** 2,
    "rectangle": lambda z, g: (1.0 if abs(z) < g / 2 else 0.0) / g,
    "exponential": lambda z, g: math.exp(-g * abs(z)),
    "damped_exponential": lambda z, g: 0.3 * math.exp(-g * abs(z)),
    "straight_through": lambda z, c: c,
}


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 7.0])
def test_atan_is_that_of_snntorch(sharpness):
    stock = gradient(snntorch.surrogate.atan(alpha=sharpness), Z)
    ours = Surrogate("atan", sharpness).derivative(Z)
    torch.testing.assert_close(ours, stock, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sharpness", [1.0, 25.0, 100.0])
def test_fast_sigmoid_is_that_of_snntorch(sharpness):
    stock = gradient(snntorch.surrogate.fast_sigmoid(slope=sharpness), Z)
    ours = Surrogate("fast_sigmoid", sharpness).derivative(Z)
    torch.testing.assert_close(ours, stock, atol=1e-6, rtol=1e-6)


def test_every_elementwise_surrogate_has_a_closed_form_here():
    assert set(ELEMENTWISE) == set(CLOSED_FORMS)
    assert all(Surrogate(name, 1.5).elementwise for name in ELEMENTWISE)
    assert not any(Surrogate(name, 0.4).elementwise for name in ADAPTIVE)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_derivative_is_the_closed_form(name, sharpness):
    z = (Z + 0.003).double()  # not at the edges of the rectangle
    expected = torch.tensor(
        [CLOSED_FORMS[name](v, sharpness) for v in z.tolist()], dtype=torch.float64
    )
    torch.testing.assert_close(
        Surrogate(name, sharpness).derivative(z), expected, atol=1e-12, rtol=1e-12
    )


@pytest.mark.parametrize("name", ["triangle", "rectangle"])
@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.0])
def test_bounded_surrogates_have_unit_area(name, sharpness):
    z = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    area = torch.trapezoid(Surrogate(name, sharpness).derivative(z), z)
    assert area == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_derivative_does_not_change_its_input(name, dtype):
    z = Z.to(dtype).reshape(-1, 1)
    before = z.clone()
    out = Surrogate(name, 1.5).derivative(z)
    assert torch.equal(z, before)
    assert out.shape == z.shape
    assert out.dtype == dtype
    assert out.data_ptr() != z.data_ptr()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_spike_is_a_step_with_the_surrogate_as_its_derivative(name):
    surrogate = Surrogate(name, 1.5)
    z = Z.double()
    assert torch.equal(spike(z, surrogate), (z > 0).double())
    assert torch.equal(gradient(lambda v: spike(v, surrogate), z), surrogate.derivative(z))


def test_spike_without_a_surrogate_has_zero_gradient():
    assert not gradient(lambda v: spike(v, None), Z).any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("atan", Surrogate("atan", 2.0)),
        ("fast_sigmoid", Surrogate("fast_sigmoid", 25.0)),
        ("triangle", Surrogate("triangle", 1.0)),
        ("atan(3)", Surrogate("atan", 3.0)),
        (" rectangle ( 0.5 ) ", Surrogate("rectangle", 0.5)),
        ("exponential(1e1)", Surrogate("exponential", 10.0)),
        ("none", None),
    ],
)
def test_parse_reads(text, expected):
    assert Surrogate.parse(text) == expected


@pytest.mark.parametrize("name", surrogate_names())
@pytest.mark.parametrize("sharpness", [0.125, 2.0, 25.0])
def test_parse_reads_what_str_writes(name, sharpness):
    sharpness = min(sharpness, 0.45) if name.startswith("assg") else sharpness
    surrogate = Surrogate(name, sharpness)
    assert Surrogate.parse(str(surrogate)) == surrogate


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("attan(2)", "did you mean atan"),
        ("fast_sigmoyd", "did you mean fast_sigmoid"),
        ("traingle(1)", "did you mean triangle"),
        ("none(1)", "unknown surrogate"),
        ("atan(2", r"write it like atan\(2\)"),
        ("atan()", r"write it like atan\(2\)"),
        ("", r"write it like atan\(2\)"),
        ("atan(two)", "'two' is not a number"),
        ("atan(0)", "must be positive"),
        ("atan(-1)", "must be positive"),
        ("atan(nan)", "must be positive"),
        ("atan(inf)", "must be positive"),
    ],
)
def test_parse_refuses_and_says_why(text, said):
    with pytest.raises(UsageError, match=said):
        Surrogate.parse(text)
