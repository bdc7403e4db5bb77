from __future__ import annotations

import numpy as np
import pytest
import torch

from robench.attacks import FGSM, PGD, SPGD, Attack, DirectAttack, RandomNoise
from robench.attacks.primitives.norms import TOLERANCE
from robench.datasets import find_dataset
from robench.epsilon import Epsilon, parse_grid
from robench.registry import select_models
from tests.support.sweeping import EPSILON, GRID, robust_at, sweep


@pytest.mark.parametrize("order", ["fast", "ascending", "raw"])
@pytest.mark.parametrize("attack", [FGSM(), PGD(), SPGD(steps=20), PGD(steps=5, restarts=2)])
def test_robust_accuracy_is_the_closed_form_of_a_linear_model(linear, attack, order) -> None:
    rows = sweep(linear.model, attack, linear.x, linear.y, sweep=order).run()
    expected = [linear.robust(epsilon.value) for epsilon in GRID]
    assert [robust_at(rows, k) for k in range(len(GRID))] == expected
    assert 0 < expected[3] < expected[0]  # the accuracy falls over the grid


@pytest.mark.parametrize("attack", [FGSM(), PGD(), SPGD(steps=20), RandomNoise()])
def test_examples_lie_in_ball_and_box_and_are_misclassified(linear, attack) -> None:
    engine = sweep(linear.model, attack, linear.x, linear.y)
    rows = engine.run()
    found = (rows["minimal_position"] > 0).to_numpy()
    assert found.any()
    assert (rows["linf"] <= rows["minimal_epsilon"] + TOLERANCE)[found].all()
    assert engine.examples.min() >= 0
    assert engine.examples.max() <= 1
    assert (linear.model.logits(engine.examples).argmax(1) != linear.y).numpy()[found].all()
    assert rows["reverified"].all()


def test_noise_is_weaker_than_fgsm_and_depends_on_the_sample_alone(linear) -> None:
    strong = sweep(linear.model, FGSM(), linear.x, linear.y).run()
    weak = sweep(linear.model, RandomNoise(), linear.x, linear.y).run()
    other = sweep(linear.model, RandomNoise(), linear.x, linear.y, batch_size=7).run()
    assert sum(robust_at(weak, k) for k in range(len(GRID))) > sum(
        robust_at(strong, k) for k in range(len(GRID))
    )
    assert (weak["minimal_position"] == other["minimal_position"]).all()


def test_the_result_does_not_depend_on_batches_or_on_the_search(linear) -> None:
    reference = sweep(linear.model, PGD(), linear.x, linear.y).run()["minimal_position"]
    for options in (
        {"batch_size": 1},
        {"batch_size": 13},
        {"sweep": "raw"},
        {"sweep": "ascending"},
    ):
        other = sweep(linear.model, PGD(), linear.x, linear.y, **options).run()
        assert (other["minimal_position"] == reference).all()


def test_each_pass_is_counted_once_for_each_row(linear) -> None:
    one = parse_grid(["0.00001"])  # too small for any adversarial example: all steps are used
    x, y = linear.x, linear.y
    close = linear.robust(0.00001) < len(x)
    assert not close
    fgsm = sweep(linear.model, FGSM(), x, y, one).run()
    assert (fgsm["forwards"] == 2).all()  # the clean image and the candidate
    assert (fgsm["backwards"] == 1).all()
    pgd = sweep(linear.model, PGD(steps=7, restarts=3), x, y, one).run()
    assert (pgd["backwards"] == 21).all()
    spgd = sweep(linear.model, SPGD(pgd_steps=6, steps=4), x, y, one).run()
    assert (spgd["backwards"] == 6 + 4).all()
    more = sweep(linear.model, FGSM(), x, y, parse_grid(["1e-5", "2e-5"])).run()
    assert (more["forwards"] == 3).all()
    assert (more["backwards"] == 1).all()  # one gradient for all ε
    two = sweep(linear.model, PGD(steps=7), x, y, parse_grid(["1e-5", "2e-5"])).run()
    assert (two["backwards"] == 3 + 7).all()  # its descent, and one run
    raw = sweep(linear.model, PGD(steps=3), x, y, parse_grid(["1e-5", "2e-5"]), sweep="raw").run()
    assert (raw["backwards"] == 6).all()


class EachTime(DirectAttack):
    """FGSM with a gradient for every ε."""

    name = "each-time"

    def run(self, view, x, y, eps, noise):
        return FGSM().run(view, x, y, eps, noise)


def test_a_line_attack_is_the_same_attack_as_with_a_run_for_each_epsilon(checkpoint) -> None:
    model, x, y = checkpoint
    line = sweep(model, FGSM(), x[:90], y[:90], batch_size=32).run()
    direct = sweep(model, EachTime(), x[:90], y[:90], batch_size=32, sweep="raw").run()
    points = [f"raw_{k}" for k in range(len(GRID))]
    assert (line[points] == direct[points]).to_numpy().mean() > 0.995  # rounding of other batches
    assert 0 < line[points].to_numpy().mean() < 1
    smallest = line[points[1:]].to_numpy().argmax(1) + 1
    found = line["minimal_position"] > 0
    assert (line["minimal_position"][found] == smallest[found]).all()
    assert (line["backwards"] <= 1).all()


def test_epsilon_zero_alone_has_no_adversarial_example(linear) -> None:
    rows = sweep(linear.model, PGD(), linear.x, linear.y, parse_grid(["0"])).run()
    assert (rows["minimal_position"] == -1).all()
    assert (rows["backwards"] == 0).all()


def test_a_misclassified_sample_is_never_attacked(linear) -> None:
    y = linear.y.clone()
    y[:5] = 1 - y[:5]
    rows = sweep(linear.model, PGD(), linear.x, y).run()
    assert (rows["minimal_position"][:5] == 0).all()
    assert (rows["backwards"][:5] == 0).all()


@pytest.mark.parametrize("size", [1, 3])
def test_small_batches_and_no_robust_sample(linear, size) -> None:
    x, y = linear.x[:size], linear.y[:size]
    rows = sweep(linear.model, PGD(), x, y, parse_grid(["0.9"])).run()
    assert (rows["minimal_position"] == 1).all()
    rows = sweep(linear.model, PGD(), x, 1 - y).run()
    assert (rows["minimal_position"] == 0).all()


@pytest.fixture(scope="module")
def checkpoint():
    (entry,) = select_models(["digits/vgg16-ann"])
    images = find_dataset("digits").load("test").first(200)
    return entry.load(), images.tensor(), images.targets()


def robust_of_ours(checkpoint, attack: Attack) -> int:
    model, x, y = checkpoint
    grid = (Epsilon(0.0, "0"), Epsilon(EPSILON, "8/255"))
    return robust_at(sweep(model, attack, x, y, grid, batch_size=64).run(), 1)


def foolbox_robust(checkpoint, attack) -> int:
    import foolbox

    model, x, y = checkpoint
    wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    torch.manual_seed(0)
    _, _, success = attack(wrapped, x, y, epsilons=EPSILON)
    return int((~success).sum())


def test_fgsm_agrees_with_foolbox(checkpoint) -> None:
    import foolbox

    theirs = foolbox_robust(checkpoint, foolbox.attacks.LinfFastGradientAttack(random_start=False))
    assert abs(robust_of_ours(checkpoint, FGSM()) - theirs) <= 2


def test_pgd_is_no_weaker_than_foolbox(checkpoint) -> None:
    import foolbox

    attack = foolbox.attacks.LinfPGD(steps=20, rel_stepsize=2.5 / 20, random_start=True)
    assert robust_of_ours(checkpoint, PGD()) <= foolbox_robust(checkpoint, attack) + 2


def advertorch_robust(checkpoint, name: str, **options) -> int:
    from robench.compat import advertorch

    advertorch.load()
    import advertorch.attacks as attacks

    model, x, y = checkpoint
    torch.manual_seed(0)
    attack = getattr(attacks, name)(model.module, eps=EPSILON, **options)
    return int((model.logits(attack.perturb(x, y)).argmax(1) == y).sum())


def test_fgsm_and_pgd_agree_with_advertorch(checkpoint) -> None:
    fgsm = advertorch_robust(checkpoint, "GradientSignAttack")
    assert abs(robust_of_ours(checkpoint, FGSM()) - fgsm) <= 2
    pgd = advertorch_robust(
        checkpoint, "LinfPGDAttack", nb_iter=20, eps_iter=2.5 * EPSILON / 20, rand_init=True
    )
    assert robust_of_ours(checkpoint, PGD()) <= pgd + 2


@pytest.mark.parametrize("name", ["digits/vgg16-ann", "digits/vgg16-stbp", "digits/flex-hybrid"])
def test_spgd_is_never_weaker_than_pgd_on_a_sample(name) -> None:
    (entry,) = select_models([name])
    model = entry.load()
    images = find_dataset("digits").load("test").first(16)
    grid = parse_grid(["4/255", "8/255"])
    positions = {}
    for attack in (PGD(), SPGD(steps=30)):
        rows = sweep(model, attack, images.tensor(), images.targets(), grid, batch_size=24).run()
        position = rows["minimal_position"].to_numpy()
        positions[attack.name] = np.where(position == -1, len(grid), position)
    assert (positions["spgd"] <= positions["pgd"]).all()
