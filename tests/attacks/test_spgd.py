"""SPGD: the order of its estimators and the names in results."""

import pytest
import torch

from robench.attacks import PGD, SAPGD, SPGD
from robench.attacks.spgd import SurrogateRun
from robench.engine.view import ModelView, QueryCounter
from robench.errors import UsageError
from robench.spiking import LIFParameters
from tests.support.sweeping import sweep
from tests.support.two_layers import Counterpart, Two, model_of


def test_spgd_starts_with_pgd_and_names_its_estimators():
    assert SPGD().model_dump(mode="json")["paths"] == []
    assert SPGD(paths=("hart",)).model_dump(mode="json")["paths"] == ["hart"]
    around = ("atan(2)", "triangle(1)", "triangle(0.5)", "rectangle(1)", "rga")
    assert SPGD().finders == (*around, "assg_scaled(0.425)")
    assert isinstance(SPGD().stages[0], PGD)
    with pytest.raises(ValueError, match="needs at least one"):
        SPGD(surrogates=(), hybrid_estimators=("rga",))


def steps_of(attack, mode):
    """The estimator of each step of a run, on images that stay robust."""
    model = model_of(Two(LIFParameters(0.5)).float(), mode=mode)
    x = torch.rand(3, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    y, eps = model.logits(x).argmax(1), torch.full((3,), 1e-3)
    view = ModelView(model, y, torch.arange(len(x)), QueryCounter.empty(len(x)))
    state = attack.init(view, x, y, eps, lambda *_: torch.rand_like(x))
    names = []
    for _ in range(attack.steps):
        names.append(attack.finders[int(state.phase[0])])
        state.candidate, state = attack.step(view, x, y, eps, state, lambda *_: x)
    return names


def test_every_second_step_on_a_hybrid_network_follows_its_rate():
    run = SurrogateRun(steps=7, surrogates=("atan(2)", "triangle(1)", "rectangle(1)"))
    turn = [*run.surrogates] * 3
    assert steps_of(run, "stbp") == turn[:7]
    assert steps_of(run, "hybrid") == [
        "atan(2)", "rga", "triangle(1)", "rga", "rectangle(1)", "rga", "atan(2)",
    ]  # fmt: skip
    both = run.model_copy(update={"hybrid_estimators": ("rga", "atan(2)")})
    assert steps_of(both, "hybrid") == [
        "atan(2)", "rga", "triangle(1)", "atan(2)", "rectangle(1)", "rga", "atan(2)",
    ]  # fmt: skip
    assert steps_of(run.model_copy(update={"hybrid_estimators": ()}), "hybrid") == turn[:7]


def test_spgd_alternates_its_estimators_and_names_the_one_that_found_the_example():
    net = Two(LIFParameters(0.5)).float()
    model = model_of(net, make_counterpart=lambda: Counterpart(net))
    x = torch.rand(40, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    y = model.logits(x).argmax(1)
    attack = SPGD(surrogates=("atan(2)", "triangle(1)/hart"), paths=("rga", "cba"), pgd_steps=1)
    around = ("atan(2)", "triangle(1)/hart", "rga", "cba")
    assert attack.finders == (*around, "assg_scaled(0.425)")
    rows = sweep(model, attack, x, y).run()
    found = rows[rows["minimal_position"] > 0]
    assert set(found["found_by"]) <= {"pgd", *attack.finders}
    assert found["found_by"].nunique() >= 3
    assert rows["reverified"].all()


def test_the_last_run_is_sa_pgd_with_shorter_steps_and_its_own_surrogate():
    attack = SPGD(paths=("rga", "hart"), adaptive="assg(0.4)", loss="margin", steps=7)
    last = attack.stages[-1]
    assert last.finders == ("assg(0.4)",)
    plain = SAPGD(surrogate="assg(0.4)", loss="margin", steps=14)
    assert dict(last) == dict(plain) | {"longest": 0.5, "shortest": 0.0}
    first, *rest = plain.step_sizes()[2:]
    assert (first, rest[0]) == (1, 0.5)  # the third step and the fourth
    assert last.step_sizes() == [0.5] * 3 + rest


def test_two_surrogates_that_would_share_statistics_are_refused():
    with pytest.raises(ValueError, match="assg and assg_scaled would share"):
        SPGD(surrogates=("assg(0.4)", "assg_scaled(0.4)"))
    SPGD(surrogates=("assg(0.4)", "assg(0.2)"), adaptive="assg_scaled(0.4)")  # in separate runs

    with pytest.raises(ValueError, match="assg and assg_scaled would share"):
        SPGD(surrogates=("assg(0.4)",), hybrid_estimators=("assg_scaled(0.4)",))


@pytest.mark.parametrize("adaptive", ["", "bptr", "none"])
def test_the_last_run_needs_a_surrogate(adaptive):
    with pytest.raises((UsageError, ValueError), match="surrogate"):
        SPGD(adaptive=adaptive)


def test_rows_that_have_ended_free_the_statistics_of_the_neurons():
    model = model_of(Two(LIFParameters(0.5)).float())
    x = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    y, eps = model.logits(x).argmax(1), torch.full((4,), 0.01)
    view = ModelView(model, y, torch.arange(4), QueryCounter.empty(4))
    attack = SurrogateRun(steps=2, surrogates=("assg_scaled(0.4)",))
    state = attack.init(view, x, y, eps, lambda *_: x)
    state.candidate, state = attack.step(view, x, y, eps, state, lambda *_: x)
    assert all(entry is not None for entry in state.statistics.entries)
    state.candidate, state = attack.step(view, x, y, eps, state, lambda *_: x)
    assert state.statistics.entries == [None] * 4


def test_a_budget_is_spent_on_the_last_run():
    attack = SPGD(adaptive="assg(0.4)", loss="margin")
    alone = attack.at_budget(81)
    assert alone.stages == (alone,)
    bounds = {"longest": 1.0, "shortest": 4 / 81}
    assert alone == attack.stages[-1].model_copy(update={"steps": 81, **bounds})
    assert alone.step_sizes() == [max(size, 4 / 81) for size in SAPGD(steps=81).step_sizes()]
    short = SPGD().at_budget(20).step_sizes()
    assert short == [1] * 4 + [0.5] * 3 + [0.25] * 2 + [0.2] * 11
    assert set(SPGD(first_step=0.1).at_budget(9).step_sizes()) == {0.1}
