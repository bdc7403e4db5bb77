from __future__ import annotations

import json

import pytest
import torch

from robench.attacks import DDN, PGDL2
from robench.attacks.primitives.norms import length, project, tolerance, unit
from robench.datasets import DIGITS, find_dataset
from robench.engine.sample_noise import SampleNoise
from robench.epsilon import parse_grid
from robench.errors import ContentError
from robench.registry import find_attack, select_models
from robench.reporting import build_report, render
from tests.support.commands import refused
from tests.support.linear_model import LinearModel
from tests.support.made_up import Builder, fall
from tests.support.sweeping import robust_at, sweep

STEP = 1 / 400
GRID = parse_grid([f"{k}/400" for k in range(1, 700)])
SHAPES = [(8, 1, 1), (3, 4, 4), (5, 7, 7)]
MINIMAL = [
    "ddn",
    "deepfool",
    "foolbox:DDNAttack",
    "foolbox:L2FMNAttack",
    "advertorch:DDNL2Attack[nb_iter=100,quantize=false]",
    "advertorch:L2FABAttack[n_iter=20]",
]


def shortest(linear: LinearModel, row: int) -> float:
    """The smallest L2 distance of an adversarial example, with the box active.

    The nearest point of the box beyond a plane is ``clip(x + λd)``, with d across the plane; λ by
    bisection. With the box idle it is the margin over the length of d.
    """
    flat, way = linear.x[row].flatten().double(), linear.direction[row]
    low, high = 0.0, 1e3
    for _ in range(80):
        middle = (low + high) / 2
        moved = (flat + middle * way).clamp(0, 1) - flat
        low, high = (middle, high) if (moved * way).sum() <= linear.margin[row] else (low, middle)
    return float(((flat + high * way).clamp(0, 1) - flat).norm())


@pytest.fixture(params=SHAPES, ids=str)
def plane(request: pytest.FixtureRequest) -> LinearModel:
    """A linear model whose minimal perturbations do not reach the box."""
    return LinearModel(request.param, 8, box=False)


def test_the_closed_form_is_the_margin_over_the_length(plane) -> None:
    for row in range(8):
        expected = plane.margin[row] / plane.direction[row].norm()
        assert shortest(plane, row) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_pgd_has_the_robust_accuracy_of_a_linear_model(plane, size, order) -> None:
    x, y = plane.x[:size], plane.y[:size]
    grid = parse_grid([f"{k}/100" for k in range(1, 12)])
    attack = PGDL2(steps=100, relative_step=10)  # enough to align with the gradient
    rows = sweep(plane.model, attack, x, y, grid, sweep=order).run()
    nearest = torch.tensor([shortest(plane, row) for row in range(size)])
    expected = [int((nearest > epsilon.value).sum()) for epsilon in grid]
    assert [robust_at(rows, k) for k in range(len(grid))] == expected
    assert rows["reverified"].all()


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("name", MINIMAL)
@pytest.mark.parametrize("box", [False, True], ids=["box idle", "box active"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_minimum_norm_attack_comes_near_the_closed_form(shape, box, name, size) -> None:
    linear = LinearModel(shape, 8, box=box)
    x, y = linear.x[:size], linear.y[:size]
    rows = sweep(linear.model, find_attack(name).attack, x, y, GRID).run()
    nearest = torch.tensor([shortest(linear, row) for row in range(size)]).numpy()
    assert (rows["minimal_position"] > 0).all()
    assert (rows["l2"] <= 1.25 * nearest + 2 * STEP).all()
    assert (rows["l2"] >= nearest - 1e-5).all()
    assert (rows["l2"] <= rows["minimal_epsilon"] + 1e-5).all()


def test_one_run_gives_the_whole_curve(plane) -> None:
    for grid in (parse_grid(["4"]), GRID):
        rows = sweep(plane.model, DDN(steps=30), plane.x, plane.y, grid).run()
        assert (rows["backwards"] == 30).all()
    assert len(set(rows["minimal_position"])) > 1
    short = sweep(plane.model, DDN(steps=30), plane.x, plane.y, parse_grid(["1e-6"])).run()
    assert (short["minimal_position"] == -1).all()


def test_the_images_of_all_steps_are_not_kept(plane) -> None:
    rows = torch.arange(len(plane.x))
    view = sweep(plane.model, DDN(steps=30), plane.x, plane.y, parse_grid(["1"])).target.view(
        rows, 0
    )
    eps = torch.ones(len(rows))
    found = DDN(steps=30).run(view, plane.x, plane.y, eps, None)
    assert view.seen == []
    assert (plane.model.logits(found).argmax(1) != plane.y).any()


def test_projection_and_length() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(6, 3, 5, 5, generator=generator)
    eps = torch.tensor([0.0, 0.1, 0.5, 1.0, 2.0, 100.0])
    candidate = x + torch.randn(x.shape, generator=generator)
    inside = project(candidate, x, eps, "l2")
    assert torch.equal(inside[0], x[0])
    assert (length(inside - x, "l2") <= eps + tolerance(x, "l2")).all()
    assert length(inside - x, "l2")[1] == pytest.approx(0.1, rel=0.3)  # the box shortens it
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert torch.equal(inside[5], candidate[5].clamp(0, 1))  # bit-equal inside the ball
    assert torch.equal(length(candidate - x, "linf"), (candidate - x).abs().flatten(1).amax(1))


def test_a_unit_vector_survives_any_magnitude() -> None:
    rows = torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(1))
    scales = torch.tensor([1e-30, 1.0, 1e30, 0.0])[:, None, None, None]
    found = unit(rows * scales)
    assert torch.allclose(
        found[:3], rows[:3] / rows[:3].flatten(1).norm(dim=1)[:, None, None, None]
    )
    assert (found[3] == 0).all()


def test_starts_are_uniform_in_the_ball() -> None:
    x = torch.full((200, 1, 1, 2), 0.5)
    noise = SampleNoise(0, "digits", list(range(200)), x.shape[1:])
    start = PGDL2.start_point(x, torch.full((200,), 0.4), noise, 0) - x
    radius = length(start, "l2")
    assert radius.max() <= 0.4 + 1e-6
    inner = float((radius <= 0.4 / 2**0.5).double().mean())  # half of the area of a disc
    assert inner == pytest.approx(0.5, abs=0.12)
    assert start.mean().abs() < 0.05


@pytest.fixture(scope="module")
def checkpoint():
    (entry,) = select_models(["digits/vgg16-ann"])
    images = find_dataset("digits").load("test").first(24)
    return entry.load(), images.tensor(), images.targets()


def test_ddn_is_no_weaker_than_foolbox(checkpoint) -> None:
    import foolbox

    model, x, y = checkpoint
    rows = sweep(model, DDN(), x, y, parse_grid(["50"]), batch_size=24).run()
    wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    theirs, _, success = foolbox.attacks.DDNAttack()(wrapped, x, y, epsilons=None)
    right = torch.tensor((rows["minimal_position"] > 0).tolist())
    assert success[right].all()
    ours = torch.tensor(rows["l2"].tolist())[right]
    assert ours.median() <= 1.02 * (theirs - x).flatten(1).norm(dim=1)[right].median()


def test_pgd_is_no_weaker_than_foolbox(checkpoint) -> None:
    import foolbox

    model, x, y = checkpoint
    attack = foolbox.attacks.L2PGD(steps=20, rel_stepsize=2.5 / 20, random_start=True)
    wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    _, _, success = attack(wrapped, x, y, epsilons=2.0)
    rows = sweep(model, PGDL2(), x, y, parse_grid(["2"]), batch_size=24).run()
    assert robust_at(rows, 1) <= int((~success).sum()) + 1
    assert robust_at(rows, 1) < len(x)


@pytest.mark.usefixtures("small_models")
def test_a_run_in_l2(cli, tmp_path) -> None:
    names = "pgd-l2,ddn,deepfool,advertorch:L2PGDAttack[nb_iter=9],foolbox:L2FastGradientAttack"
    given = ("--models", "smallmodels:small", "--limit", "13", "--batch-size", "5")
    done = cli("run", "--attacks", names, *given, "--output", tmp_path, "--json")
    assert done.code == 0, done.err
    for cell in json.loads(done.out):
        outcome = cell["outcome"]
        assert outcome["identity"]["norm"] == "l2"
        texts = [point["epsilon"]["text"] for point in outcome["curve"]]
        assert texts == [str(epsilon) for epsilon in DIGITS.protocol.grids["l2"]]
        assert outcome["curve"][-1]["accuracy"] < outcome["clean_accuracy"]
        assert set(outcome["auc"]) == {str(limit) for limit in DIGITS.protocol.auc_limits["l2"]}
        assert all(check["verdict"] == "valid" for check in outcome["checks"])


def test_the_norms_are_never_in_one_table(builder: Builder) -> None:
    far = DIGITS.protocol.grids["l2"]
    for name in ("vgg16-ann", "flex-ann"):
        builder.add(f"digits/{name}", "pgd", fall(30), mode="ann")
    builder.add("digits/flex-ann", "ddn", fall(60), mode="ann", norm="l2", grid=far)
    report = build_report(builder.store)
    assert [table.title for table in report.tables] == ["Digits", "Digits, L2"]
    first, second = report.tables
    assert first.attacks == ("pgd",)
    assert second.attacks == ("ddn",)
    assert [row.model for row in second.rows] == ["digits/flex-ann"]
    assert (str(second.headline), str(second.limit)) == ("2", "2")
    assert [row.rank for row in first.rows] == [1, 2]
    text = render(report)
    assert "## Digits, L2" in text
    assert "Norm: L2, images in \\[0, 1\\]" in text
    assert "digits-l2-curves.png" in text
    assert [data["norm"] for data in json.loads(render(report, "json"))["datasets"]] == [
        "linf", "l2",
    ]  # fmt: skip


def test_an_epsilon_beyond_all_images_is_refused(cli, tmp_path) -> None:
    given = ("--models", "digits/vgg16-ann", "--limit", "2", "--output", tmp_path / "results")
    refused(cli("run", "--attacks", "ddn", "--eps", "56", *given), "outside [0, 55.4", "L2")
    refused(cli("run", "--attacks", "ddn", "--grid", "bioflexnet", *given), "for linf, not for l2")
    assert cli("run", "--attacks", "ddn", "--eps", "2", *given, "--dry-run").code == 0


def test_a_card_of_a_library_in_another_norm_is_refused(tmp_path, monkeypatch) -> None:
    card = tmp_path / "mine.toml"
    text = 'implementation = "foolbox:L2PGD"\nnorm = "linf"\ndescription = ""\ncitation = ""\n'
    card.write_text(text, "utf-8")
    monkeypatch.setattr("robench.registry.attacks.attack_files", lambda: {"mine": card})
    with pytest.raises(ContentError, match="key norm: mine works in l2"):
        find_attack("mine")
