from __future__ import annotations

import pytest
import torch

from robench.attacks.backends.adapter import Adapter, seeded
from robench.datasets import find_dataset
from robench.engine.view import ModelView, QueryCounter
from robench.epsilon import Epsilon, parse_grid
from robench.errors import EvaluationError, UsageError
from robench.registry import find_attack, select_models
from tests.support.linear_model import LinearModel
from tests.support.sweeping import EPSILON, GRID, robust_at, sweep

EXACT = [  # on a binary linear model these find the closest corner, whatever the box
    "foolbox:LinfFastGradientAttack",
    "foolbox:LinfPGD[steps=20,rel_stepsize=0.2]",
    "foolbox:LinfBasicIterativeAttack",
    "foolbox:MIFGSM",
    "advertorch:GradientSignAttack",
    "advertorch:LinfPGDAttack[relative_eps_iter=0.2]",
    "advertorch:LinfMomentumIterativeAttack",
    "advertorch:PGDAttack[rand_init=false]",
]
MINIMAL = ["foolbox:LinfDeepFoolAttack", "advertorch:LinfFABAttack[n_iter=20]"]
ONE = parse_grid(["0.00001"])  # too small for any adversarial example


@pytest.fixture(params=[False, True], ids=["box idle", "box active"])
def linear(request: pytest.FixtureRequest) -> LinearModel:
    return LinearModel((3, 4, 4), 16, box=request.param)


@pytest.mark.parametrize("name", EXACT)
def test_a_library_finds_the_closed_form_of_a_linear_model(linear, name) -> None:
    rows = sweep(linear.model, find_attack(name).attack, linear.x, linear.y).run()
    assert [robust_at(rows, k) for k in range(len(GRID))] == [linear.robust(e.value) for e in GRID]
    assert rows["reverified"].all()


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("name", MINIMAL)
def test_a_minimum_norm_attack_comes_near_the_closed_form(linear, name, size) -> None:
    x, y = linear.x[:size], linear.y[:size]
    grid = parse_grid([f"{k}/100" for k in range(1, 21)])
    rows = sweep(linear.model, find_attack(name).attack, x, y, grid).run()
    shortest = torch.tensor([linear.distance(row) for row in range(size)]).numpy()
    assert (rows["minimal_position"] > 0).all()
    assert (rows["linf"] <= 1.25 * shortest + 1e-3).all()
    assert (rows["linf"] >= shortest - 1e-6).all()


@pytest.mark.parametrize(
    ("name", "forwards", "backwards"),
    [
        # the clean image, and the candidate that the engine verifies
        ("foolbox:LinfPGD[steps=7]", 2, 7),
        ("advertorch:LinfPGDAttack[nb_iter=7]", 2, 7),
        ("foolbox:LinfAdditiveUniformNoiseAttack", 2, 0),
        ("foolbox:LinfRepeatedAdditiveUniformNoiseAttack[repeats=5]", 7, 0),
        ("foolbox:LInfFMNAttack[steps=9]", None, 9),
        ("advertorch:LinfSPSAAttack[nb_iter=2,nb_sample=8]", 34, 0),  # 2 · 2 · 8 inputs
        # each step: a forward, a backward for each class, and a forward at its end
        ("advertorch:LinfFABAttack[n_iter=4]", None, 8),
    ],
)
def test_queries_are_counted_for_each_sample(linear, name, forwards, backwards) -> None:
    attack = find_attack(name).attack
    for size in (16, 5):
        rows = sweep(linear.model, attack, linear.x, linear.y, ONE, batch_size=size).run()
        if forwards is not None:
            assert (rows["forwards"] == forwards).all()
        assert (rows["backwards"] == backwards).all()


@pytest.mark.parametrize(
    "name",
    [
        "foolbox:LinfPGD[steps=3]",
        "foolbox:LinfAdditiveUniformNoiseAttack",
        "advertorch:LinfPGDAttack[nb_iter=3]",
        "advertorch:LinfSPSAAttack[nb_iter=2,nb_sample=4]",
    ],
)
def test_random_numbers_belong_to_the_sample(linear, name) -> None:
    attack = find_attack(name).attack
    x, y = linear.x, linear.y
    found = [sweep(linear.model, attack, x, y, batch_size=size) for size in (16, 7, 1)]
    tables = [engine.run() for engine in found]
    assert (tables[0]["minimal_position"] > 0).any()
    for engine, table in zip(found[1:], tables[1:], strict=True):
        for column in ("minimal_position", "forwards", "backwards"):
            assert (table[column] == tables[0][column]).all()
        assert torch.allclose(engine.examples, found[0].examples, atol=1e-6)


def test_draws_of_rows_and_the_global_generators() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    with seeded([11, 12, 13]):
        many = torch.rand(3, 4), torch.empty(3, 4).uniform_(-1, 1), torch.randn_like(torch.ones(3))
    with seeded([12]):
        one = torch.rand(1, 4), torch.empty(1, 4).uniform_(-1, 1), torch.randn_like(torch.ones(1))
    for together, alone in zip(many, one, strict=True):
        assert torch.equal(together[1:2], alone)
        assert not torch.equal(together[0], together[1])
    assert many[1].min() < 0
    assert torch.equal(torch.rand(2), expected)


def test_inputs_without_a_row_are_refused(linear) -> None:
    rows = torch.arange(3)
    x, y = linear.x[:3], linear.y[:3]
    adapter = Adapter(ModelView(linear.model, y, rows, QueryCounter.empty(3)), rows, x, y, 0.1)
    with pytest.raises(EvaluationError, match="2 inputs for 3 samples"):
        adapter(x[:2])


def test_further_backward_passes_through_one_call_count(linear) -> None:
    rows = torch.arange(4)
    queries = QueryCounter.empty(4)
    view = ModelView(linear.model, linear.y[:4], rows, queries)
    x = linear.x[:4].clone().requires_grad_()
    logits = view.differentiable(x, torch.tensor([0, 0, 1, 3]))
    assert queries.forwards.tolist() == [2, 1, 0, 1]
    weight = linear.model.module[1].weight
    for k in (0, 1):
        (gradient,) = torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)
        assert torch.allclose(gradient.flatten(1), weight[k].expand(4, -1))
    assert queries.forwards.tolist() == [0, 0, 0, 0]
    assert queries.backwards[:, 0].tolist() == [4, 2, 0, 2]
    with torch.no_grad():
        assert not view.differentiable(x).requires_grad
    assert queries.forwards.tolist() == [1, 1, 1, 1]


@pytest.fixture(scope="module")
def checkpoint():
    (entry,) = select_models(["digits/vgg16-ann"])
    images = find_dataset("digits").load("test").first(12)
    return entry.load(), images.tensor(), images.targets()


def robust(checkpoint, name: str) -> set[int]:
    model, x, y = checkpoint
    grid = (Epsilon(0.0, "0"), Epsilon(4 * EPSILON, "32/255"))
    rows = sweep(model, find_attack(name).attack, x, y, grid, batch_size=9).run()
    return set((rows["minimal_position"] == -1).to_numpy().nonzero()[0])


def test_a_sample_that_foolbox_misclassifies_is_not_robust(checkpoint) -> None:
    import foolbox

    model, x, y = checkpoint
    wrapped = foolbox.PyTorchModel(model.module, bounds=(0, 1), device="cpu")
    pairs = {
        "foolbox:LinfBasicIterativeAttack": foolbox.attacks.LinfBasicIterativeAttack(),
        "foolbox:LinfPGD[steps=8,random_start=false]": foolbox.attacks.LinfPGD(
            steps=8, random_start=False
        ),
        "foolbox:LinfDeepFoolAttack[steps=5]": foolbox.attacks.LinfDeepFoolAttack(steps=5),
    }
    for name, attack in pairs.items():
        _, _, success = attack(wrapped, x, y, epsilons=4 * EPSILON)
        robust_there = set((~success).numpy().nonzero()[0])
        assert (
            robust(checkpoint, name) <= robust_there
        )  # robench counts every query, foolbox only the last
        assert len(robust_there) < len(x)


def test_a_sample_that_advertorch_misclassifies_is_not_robust(checkpoint) -> None:
    from robench.compat import advertorch

    attacks = advertorch.load().attacks
    model, x, y = checkpoint
    eps = 4 * EPSILON
    theirs = attacks.LinfPGDAttack(model.module, eps=eps, nb_iter=8, eps_iter=0.02, rand_init=False)
    right = (model.logits(theirs.perturb(x, y)).argmax(1) == y).numpy()
    ours = robust(checkpoint, "advertorch:LinfPGDAttack[nb_iter=8,eps_iter=0.02,rand_init=false]")
    assert ours <= set(right.nonzero()[0])
    assert not right.all()


def test_a_network_without_gradient_is_no_success_of_a_library() -> None:
    (entry,) = select_models(["digits/control-zero-gradient"])
    images = find_dataset("digits").load("test").first(4)
    x, y = images.tensor(), images.targets()
    attack = find_attack("foolbox:LinfPGD[steps=3]").attack
    rows = sweep(entry.load(), attack, x, y, parse_grid(["0.01"])).run()
    attacked = rows["minimal_position"] != 0
    assert rows["zero_gradient"][attacked].all()
    assert attacked.any()


def test_a_gradient_attack_of_a_library_has_steps_and_is_lengthened() -> None:
    for name, key in (("foolbox:LinfPGD", "steps"), ("advertorch:LinfPGDAttack", "nb_iter")):
        attack = find_attack(name).attack
        longer = attack.lengthened(2)
        assert longer.parameters == attack.parameters | {key: 2 * attack.parameters[key]}
        assert not attack.single_step
    for name in ("foolbox:LinfFastGradientAttack", "foolbox:LInfFMNAttack[steps=3]"):
        assert not find_attack(name).attack.single_step
    with pytest.raises(UsageError, match="foolbox:LinfFastGradientAttack has no steps"):
        find_attack("foolbox:LinfFastGradientAttack").attack.lengthened(2)


def test_an_attack_says_whether_it_is_one_step() -> None:
    known = {"fgsm": True, "pgd[steps=1]": True, "pgd": False, "spgd": False, "autoattack": False,
             "square": False, "apgd-ce": False, "spgd[steps=1]": False}  # fmt: skip
    assert {name: find_attack(name).attack.single_step for name in known} == known
