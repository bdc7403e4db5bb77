"""How estimators are written, and how surrogates and paths combine."""

import pytest

from robench.attacks import SurrogateEnsemble
from robench.errors import UsageError
from robench.registry import find_attack
from robench.spiking import OZDENIZCI_LEGENSTEIN, Estimator, LIFParameters, combine
from tests.support.two_layers import Counterpart, Two, X, Y, model_of, view_of


def test_surrogates_and_paths_combine():
    assert combine(("atan(2)",), ()) == ("atan(2)",)
    assert combine(("atan(2)", "triangle(1)"), ("stbp", "bptr", "hart")) == (
        "atan(2)/stbp",
        "atan(2)/hart",
        "triangle(1)/stbp",
        "triangle(1)/hart",
        "bptr",
    )
    assert combine(("triangle(1)/hart", "atan(2)", "rga"), ("stbp", "rga")) == (
        "triangle(1)/hart",
        "atan(2)/stbp",
        "rga",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hart", r"triangle\(1\)/hart"),
        ("atan(2)/bptr", "write bptr alone"),
        ("atan(2)/hard", "did you mean hart"),
        ("bptrr", "did you mean bptr"),
        ("attan(2)", "did you mean atan"),
        ("none", "needs a derivative"),
        ("atan(2)/", "unknown gradient path"),
    ],
)
def test_an_estimator_that_cannot_be_read_is_refused(text, said):
    with pytest.raises(UsageError, match=said):
        Estimator.parse(text)
    if "/" not in text:  # a result folder is named after a request, which has no slash
        with pytest.raises(UsageError, match=f"attack surrogate-ensemble.*{said}"):
            find_attack(f"surrogate-ensemble[surrogates=[{text}]]")


def test_the_published_ensemble_has_19_estimators():
    assert len(OZDENIZCI_LEGENSTEIN) == len(set(OZDENIZCI_LEGENSTEIN)) == 19
    estimators = [Estimator.parse(text) for text in OZDENIZCI_LEGENSTEIN]
    found = {}
    for estimator in estimators:
        name = estimator.surrogate.name if estimator.surrogate else estimator.path.name
        found.setdefault(name, set()).add(
            estimator.surrogate.sharpness if estimator.surrogate else None
        )
    assert found == {
        "triangle": {0.25, 0.5, 1.0, 2.0, 3.0},
        "damped_exponential": {0.5, 1.0, 2.0},
        "exponential": {0.5, 1.0, 2.0},
        "rectangle": {0.25, 0.5, 1.0, 2.0, 4.0},
        "straight_through": {1.0},
        "bptr": {None},
        "cba": {None},
    }
    attack = SurrogateEnsemble(surrogates=OZDENIZCI_LEGENSTEIN)
    assert attack.finders == OZDENIZCI_LEGENSTEIN
    net = Two(LIFParameters())
    view = view_of(model_of(net, make_counterpart=lambda: Counterpart(net)))
    for estimator in estimators:
        assert view.gradient(X, Y, surrogate=estimator.surrogate, path=estimator.path).any()
