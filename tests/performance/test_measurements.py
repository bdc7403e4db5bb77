"""The speed measurements: that the peers compute robench's function, and how it is timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import nn

from performance import gradient, search, timing, users
from performance.__main__ import main, with_others
from performance.checkpoints import weights_of
from performance.convolutions import shapes
from performance.gradient import CASES, Case
from performance.growth import exponent
from performance.options import Options
from performance.peers.attacks import SWEEPS, Budget
from performance.peers.plan import NotComparable
from performance.robench_side import random_config, repeated_passes
from robench.architectures import VGG
from robench.datasets import find_dataset
from robench.engine.view import ModelView, QueryCounter
from tests.support.needs import needs_linux

TINY = Options(threads=1).quickly()


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """How many threads share a sum decides its rounding, and FLEX is near the tolerance."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.architecture}-{case.reset}")
def test_snntorch_computes_the_same_function(case: Case) -> None:
    proof = gradient.sameness(case, "snnTorch", TINY)
    assert proof["void"] == ""
    assert max(proof["logits"], proof["gradient"]) < gradient.TOLERANCE
    assert proof["agreement"] >= gradient.AGREEMENT


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("architecture", ["vgg16", "flex-vgg16"])
def test_spikingjelly_computes_the_same_function_with_reset_to_zero(architecture: str) -> None:
    assert gradient.sameness(Case(architecture, "zero"), "SpikingJelly", TINY)["void"] == ""


def test_spikingjelly_is_not_timed_where_it_computes_something_else() -> None:
    with pytest.raises(NotComparable, match="subtracts at once"):
        gradient.sameness(Case("vgg16", "subtract"), "SpikingJelly", TINY)


def test_another_function_voids_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    right = gradient.peer_network

    def wrong(name: str, built: gradient.Built, *, exact: bool = False) -> nn.Module:
        network = right(name, built, exact=exact)
        with torch.no_grad():
            network.get_submodule("head").bias[0] += 1e-6
        return network

    monkeypatch.setattr(gradient, "peer_network", wrong)
    proof = gradient.sameness(CASES[0], "snnTorch", TINY)
    assert proof["void"].startswith("not the same function in float64")


def test_the_lower_bound_has_the_shapes_of_the_network() -> None:
    config = random_config("vgg16", "zero", width=1 / 16, timesteps=2)
    convolutions = [m for m in VGG(config).modules() if isinstance(m, nn.Conv2d)]
    found = [(inputs, outputs) for inputs, outputs, _ in shapes(config)]
    assert found == [(conv.in_channels, conv.out_channels) for conv in convolutions]
    assert [side for *_, side in shapes(config)] == [32] * 2 + [16] * 2 + [8] * 3 + [4] * 3 + [
        2
    ] * 3


class Flat(nn.Module):
    """A linear network; ART calls the parts of an nn.Sequential and not the whole."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x.flatten(1))


@pytest.mark.parametrize("peer", sorted(SWEEPS))
def test_the_libraries_take_twenty_steps_at_every_epsilon(peer: str) -> None:
    torch.manual_seed(0)
    network = Flat().eval().requires_grad_(False)
    x = torch.rand(10, 3, 2, 2)
    budget = Budget()
    budget.watch(network)
    curve = SWEEPS[peer](network, x, network(x).argmax(1), [1e-6, 0.9], 20, 4)
    assert curve == [1.0, 0.0]
    assert budget.gradients == 2 * 20 * len(x)


def test_searches_are_compared_on_training_images() -> None:
    row = search.compare("digits/vgg16-ann", "pgd", 12, 8)
    points = len(find_dataset("digits").protocol.grids["linf"])
    assert row["images"] == 12
    assert len(row["above"]) == points
    assert max(row["above"]) <= max(row["high"])
    assert 0 < row["gradients"]["fast"] < row["gradients"]["ascending"]


def test_the_passes_of_a_network_are_repeated_alone() -> None:
    model = gradient.build(CASES[0], TINY).model
    x, y = torch.rand(3, 3, 32, 32), torch.zeros(3, dtype=torch.int64)
    with repeated_passes() as passes:
        gradient.robench_gradient(model, x, y)
        ModelView(model, y, torch.arange(3), QueryCounter.empty(3)).logits(x)
    assert (passes.calls, passes.rows) == (2, 6)
    assert passes.seconds > 0


def test_competitors_alternate() -> None:
    calls: list[str] = []
    steps = {name: lambda name=name: calls.append(name) for name in "abc"}
    times = timing.interleaved(steps, 2, warm_up=1)
    assert "".join(calls) == "abc" * 3
    assert {name: len(values) for name, values in times.items()} == dict.fromkeys("abc", 2)


@needs_linux
def test_the_peak_is_that_of_the_step() -> None:
    step = lambda: torch.ones(2**24).sum()  # noqa: E731 - 64 MiB that are gone afterwards
    assert timing.peak_growth(step) == pytest.approx(64, abs=16)


def test_the_interval_of_a_median_is_between_two_values() -> None:
    values = [float(value) for value in range(1, 12)]
    assert timing.median_interval(values) == (2.0, 10.0)
    assert timing.median_interval([3.0, 1.0]) == (1.0, 3.0)


@pytest.fixture(scope="module")
def untrained() -> users.Weights:
    torch.manual_seed(0)
    net = users.Network(TINY.timesteps)
    return {name: 3 * value for name, value in net.state_dict().items()}


def test_every_spike_of_the_users_network_is_replaced(untrained: users.Weights) -> None:
    row = users.substitution(untrained, 2, TINY)
    assert row["spikes"] == "spikes of snntorch.surrogate.ATan (10 calls)"
    assert row["ratio"]["plain PyTorch"] == 1
    assert set(row["ms"]) == set(row["ratio"]) == set(row["interval"])
    assert min(row["ms"].values()) > 0


def test_a_spike_that_is_not_replaced_is_no_row(
    untrained: users.Weights, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users.Network, "forward", lambda self, x: self.head(x.flatten(1)[:, :512]))
    with pytest.raises(RuntimeError, match="not every spike is replaced"):
        users.substitution(untrained, 2, TINY)


def test_robench_and_foolbox_sweep_one_network_on_the_same_images(
    untrained: users.Weights,
) -> None:
    ours, theirs = users.robench_sweep(untrained, TINY), users.foolbox_sweep(untrained, TINY)
    assert len(ours["accuracy"]) == len(theirs["accuracy"]) == len(TINY.grid)
    assert ours["accuracy"][0] == theirs["accuracy"][0]
    assert theirs["gradients"] == TINY.steps * (len(TINY.grid) - 1)
    assert ours["gradients"] <= theirs["gradients"]


def test_the_exponent_of_a_power_law() -> None:
    assert exponent([1, 2, 4], [3.0, 6.0, 12.0]) == pytest.approx(1)


def test_new_measurements_replace_earlier_ones() -> None:
    options = asdict(Options(threads=1))
    of = {"model": "digits/vgg16-ann", "weights": weights_of("digits/vgg16-ann"), "images": 1}
    first, second = (of | {"attack": name} for name in ("pgd", "spgd"))
    earlier = {"rows": [first, second], "options": options}
    again = {"rows": [second | {"images": 2}], "options": options}
    assert with_others("search", again, None) == again
    assert with_others("search", again, earlier)["rows"] == [first, *again["rows"]]
    other = {"rows": again["rows"], "options": options | {"search_images": 16}}
    assert with_others("search", other, earlier) == other
    assert with_others("growth", again, earlier) == again
    retrained = {"rows": [first | {"weights": "0" * 16}], "options": options}
    assert with_others("search", again, retrained) == again


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--search", "digits/vgg16-ann"), "is not of the form ID:ATTACK"),
        (("--peers", "Foolbox,Fool"), "no such library: Fool"),
        (("sweep", "--stbp", "digits/nothing"), "error: unknown model 'digits/nothing'"),
        (("gradient", "--model", "digits/nothing"), "error: unknown model 'digits/nothing'"),
        (("--search", "digits/vgg16-ann:pdg"), "error: unknown attack 'pdg'"),
        (("growth", "--stbp", ""), "error: growth is measured on a spiking checkpoint"),
        (("--images", "0"), "--images: at least one is needed"),
        (("--repetitions", "0"), "--repetitions: at least one is needed"),
        (("--sweep-repetitions", "-1"), "--sweep-repetitions: at least one is needed"),
        (("--strength-images", "0"), "--strength-images: at least one is needed"),
        (("strength", "--strength-eps", "0"), "error: --strength-eps: an ε above 0 is needed"),
        (("strength", "--strength-eps", "wide"), "error: ε 'wide' is not a number"),
    ],
)
def test_a_wrong_option_is_one_line(
    arguments: tuple[str, ...],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(
        "sys.argv",
        ["performance", "--quick", "--threads", "1", "--output", str(tmp_path), *arguments],
    )
    monkeypatch.setattr("performance.__main__.prepare", lambda threads: None)  # of the process
    try:
        code = main()
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert line in capsys.readouterr().err.splitlines()[-1]
