"""The speed measurements: that the peers compute robench's function, and what the page says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

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
from performance.report import PARTS, render
from performance.robench_side import random_config, repeated_passes
from performance.targets import verdicts
from robench.architectures import VGG
from robench.datasets import find_dataset
from robench.engine.view import ModelView, QueryCounter
from tests.support.needs import needs_linux

TINY = Options(threads=1).quickly()
PAGE = Path(gradient.__file__).with_name("README.md")


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
    assert row["spikes"] == "10 spikes of snntorch.surrogate.ATan"
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


def test_the_targets_are_for_the_largest_sweep_of_a_model() -> None:
    more = results()
    small = more["sweep"]["tables"][0] | {"images": 8}
    more["sweep"]["tables"].insert(0, small)
    assert verdicts(more) == verdicts(results())


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


def results(*, speed: float = 1.0) -> dict[str, Any]:
    """Made-up results of every part, in which robench is ``speed`` times as fast as it was."""
    options = {"width": 0.25, "timesteps": 10, "batch": 64, "repetitions": 11, "steps": 20}
    part = {"date": "2026-01-01", "options": options | {"sweep_repetitions": 1}}
    times = {"robench": 300.0 / speed, "snnTorch": 650.0, "SpikingJelly": 900.0}
    row = {
        "architecture": "vgg16",
        "reset": "zero",
        "model": "",
        "timesteps": 10,
        "convolutions_ms": {"float32, NHWC, 16 images": 245.0, "bfloat16, NHWC, 16 images": 132.0},
        "membranes_mb": 169.0,
        "firing_rates": [0.2, 0.1],
        "sameness": {
            peer: {"logits": 1e-16, "gradient": 1e-16, "agreement": 1.0, "void": ""}
            for peer in ("snnTorch", "SpikingJelly")
        },
        "skipped": {},
        "ms": times,
        "all_ms": {name: [ms, ms] for name, ms in times.items()},
        "memory_mb": {"robench": 600.0 / speed, "snnTorch": 1000.0, "SpikingJelly": 1100.0},
    }
    late = row | {"reset": "subtract", "skipped": {"SpikingJelly": "subtracts at once"}}
    base = {"compile_seconds": 1.0, "gradients": 70.0, "forwards": 12.0}
    tables = [
        {
            "role": role,
            "model": f"digits/vgg16-{role.lower()}",
            "asked": f"cifar10/vgg16-{role.lower()}",
            "images": 256,
            "grid": ["0", "8/255"],
            "rows": [
                base
                | {"competitor": "pgd", "column": "", "seconds": 30.0 / speed}
                | {"accuracy": [0.9, 0.25]},
                base
                | {"competitor": "Foolbox", "column": "their network", "seconds": 570.0}
                | {"gradients": 220.0, "accuracy": [0.9, 0.25]},
                {"competitor": "ART", "column": "their network", "skipped": "not installed"},
            ],
        }
        for role in ("STBP", "ANN")
    ]
    cell = {"model": "digits/vgg16-ann", "attack": "pgd", "images": 256, "passes": 300}
    cell |= {"seconds": 3.0, "bare_seconds": 2.8 * speed, "overhead": 3.0 / 2.8 / speed}
    sought = [
        {
            "model": f"digits/{name}",
            "attack": "pgd",
            "images": 1000,
            "gradients": {"fast": 40.0, "ascending": 120.0},
            "above": [0.0, above, -0.05],
            "low": [0.0, above - 0.01, -0.06],
            "high": [0.0, above + 0.01, -0.04],
        }
        for name, above in (("vgg16-ann", 0.01), ("flex-stbp", 0.028))
    ]
    names = ("plain PyTorch", "robench, own gradient", "robench, spikes replaced")
    taken = {
        "model": "",
        "rows": 64,
        "spikes": "38 spikes of snntorch.surrogate.ATan",
        "ms": dict(zip(names, (100.0, 102.0, 106.0 / speed), strict=True)),
        "ratio": dict(zip(names, (1.0, 1.02, 1.06 / speed), strict=True)),
        "interval": {name: (0.98, 1.2) for name in names},
    }
    own = tables[0] | {"role": "a user's network", "model": "a network", "asked": "a network"}
    own["rows"] = own["rows"][:2]
    grown = {"what": "images", "model": "digits/vgg16-stbp", "exponent": 1.0}
    return {
        "machine": {"CPU": "a CPU"},
        "quick": False,
        "gradient": part | {"rows": [row, late], "trained_rates": {"digits/vgg16-stbp": [0.1]}},
        "sweep": part | {"tables": tables},
        "search": part | {"rows": sought},
        "overhead": part | {"rows": [cell | {"rows_of_a_pass": 50.0}]},
        "checks": part | {"rows": [cell | {"of_model": 0.1, "of_cell": 0.1, "share": 0.12}]},
        "users": part | {"rows": [taken], "tables": [own]},
        "growth": part | {"rows": [grown | {"sizes": [1, 2], "seconds": [1.0, 2.0]}]},
    }


def test_the_page_shows_every_part() -> None:
    page = render(results())
    for heading in (
        "reached",
        "gradient step",
        "A sweep",
        "The search",
        "Overhead",
        "Checks",
        "Growth",
        "A user's network",
    ):
        assert f"{heading}\n" in page
    assert "| VGG16, reset to zero | snnTorch | 650 | 650 to 650 | 2.17 | 1000 | 1.67 |" in page
    assert "void: subtracts at once" in page
    assert "| robench, spikes replaced | 64 | 106.0 | 1.06 | 0.98 to 1.20 |" in page
    assert "The sweep of this network, 256 images" in page
    assert "ART on their network | not installed" in page
    assert "in place of cifar10/vgg16-ann" in page
    assert "{{" not in page
    assert "\n\n\n" not in page.strip()


def test_a_quick_run_has_no_targets() -> None:
    assert "to be reached" not in render(results() | {"quick": True})


def test_a_missed_target_names_the_limit() -> None:
    found = {verdict.what: verdict for verdict in verdicts(results())}
    memory = found["peak memory of a gradient step, VGG16"]
    assert memory.met is False
    assert "0.17 of snnTorch's" in memory.limit
    step = found["gradient step, float32, VGG16"]
    assert (step.met, step.limit) == (True, "")
    assert found["gradient step, bfloat16 search, VGG16"].met is None
    stbp = found["sweep, STBP (digits/vgg16-stbp), pgd"]
    assert (stbp.met, stbp.measured) == (False, "19.0×, at most +0.0 points")
    assert "70 gradient passes a sample against 220" in stbp.limit
    assert "convolutions alone are 82% of a gradient step" in stbp.limit
    assert "would make it 23.3×" in stbp.limit
    assert found["sweep, ANN (digits/vgg16-ann), pgd"].met
    search = found["search, pgd, 2 models"]
    assert (search.met, search.measured) == (False, "+2.8 at most (digits/flex-stbp)")
    assert search.limit.startswith(
        "missed on digits/flex-stbp; on the worst the ascending sweep has 3.0"
    )
    assert found["overhead"].met
    checks = found["checks of fgsm, pgd and spgd, digits/vgg16-ann"]
    assert (checks.met, checks.measured) == (False, "12.0%")
    assert checks.limit == "0.1 s are the model's, 0.1 s the cells'"
    replaced = found["a user's network, spikes replaced, 64 images"]
    assert (replaced.met, replaced.measured) == (True, "1.06×")
    swept = found["a user's network, pgd"]
    assert (swept.met, swept.measured) == (True, "19.0×, at most +0.0 points")


def test_a_slow_substitution_and_a_weak_sweep_miss_their_targets() -> None:
    slow = results(speed=0.5)
    slow["users"]["tables"][0]["rows"][0] = slow["users"]["tables"][0]["rows"][0] | {
        "accuracy": [0.9, 0.3]
    }
    found = {verdict.what: verdict for verdict in verdicts(slow)}
    replaced = found["a user's network, spikes replaced, 64 images"]
    assert (replaced.met, replaced.measured) == (False, "2.12×")
    assert replaced.limit == "+2.0 ms are the view's, +110.0 ms the substitution's"
    swept = found["a user's network, pgd"]
    assert (swept.met, swept.measured) == (False, "9.5×, at most +5.0 points")
    assert swept.limit == "70 gradient passes a sample against 220"


def test_a_sweep_that_is_fast_and_weak_misses_its_target() -> None:
    weak = results(speed=10)
    weak["sweep"]["tables"][0]["rows"][0]["accuracy"] = [0.9, 0.26]
    (stbp,) = (v for v in verdicts(weak) if v.what.startswith("sweep, STBP"))
    assert (stbp.met, stbp.measured) == (False, "190.0×, at most +1.0 points")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_stands_alone(part: str) -> None:
    some = {key: value for key, value in results().items() if key in ("machine", "quick", part)}
    assert "a CPU" in render(some)


def test_a_void_row_meets_nothing() -> None:
    void = results(speed=10)
    void["gradient"]["rows"][0]["sameness"]["snnTorch"]["void"] = "not the same function"
    found = {verdict.what: verdict for verdict in verdicts(void)}
    assert found["gradient step, float32, VGG16"].met is False
    assert "void: not the same function" in render(void)


def test_the_page_belongs_to_the_numbers() -> None:
    stored = json.loads(PAGE.with_name("results.json").read_text("utf-8"))
    assert PAGE.read_text("utf-8") == render(stored)
