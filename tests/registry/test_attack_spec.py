"""Attack specifications: names with parameters."""

import pytest

from robench.attacks import IMPLEMENTATIONS, SPGD, Attack, SpikingAutoAttack
from robench.errors import UsageError
from robench.registry import find_attack, find_attacks, split_names
from robench.registry.attack_spec import label, read_request
from robench.results import ResultStore

LIST = "surrogate-ensemble[steps=4,surrogates=[atan(2),triangle(1)]]"


def test_a_list_is_a_parameter() -> None:
    found = find_attack(LIST)
    assert found.name == LIST
    parameters = found.attack.model_dump(mode="json")
    assert parameters["surrogates"] == ["atan(2)", "triangle(1)"]
    assert parameters["steps"] == 4
    assert find_attack(found.name) == found
    assert (
        find_attack('surrogate-ensemble[surrogates=["atan(2)", "triangle(1)"], steps=4]') == found
    )


@pytest.mark.parametrize("kind", IMPLEMENTATIONS.values(), ids=IMPLEMENTATIONS)
def test_an_attack_may_be_an_object(kind: type[Attack]) -> None:
    (found,) = find_attacks([kind()])
    assert found == find_attack(kind.name)


def test_the_parameters_of_an_object_within_an_attack_are_in_its_name() -> None:
    (found,) = find_attacks([SpikingAutoAttack(spgd=SPGD(steps=7))])
    assert found.attack.spgd.steps == 7
    assert find_attack(found.name) == found


def test_a_path_behind_a_surrogate_names_a_folder(tmp_path) -> None:
    found = find_attack("surrogate-ensemble[surrogates=[triangle(1)/hart]]")
    assert find_attack(found.name) == found
    path = ResultStore(tmp_path).path("digits/x", found.name, "0" * 64)
    assert (
        path.parent
        == tmp_path / "digits" / "x" / "surrogate-ensemble[surrogates=[triangle(1)%2Fhart]]"
    )


def test_names_are_split_outside_all_brackets() -> None:
    assert split_names(f"fgsm, {LIST},pgd[steps=3,restarts=2]") == [
        "fgsm",
        LIST,
        "pgd[steps=3,restarts=2]",
    ]


@pytest.mark.parametrize(
    ("request_", "texts"),
    [
        (
            "surrogate-ensemble[surrogates=[atan(2),triangle(1)]",
            ("brackets do not match", "surrogates=["),
        ),
        ("surrogate-ensemble[surrogates=[atan(2)]]]", ("brackets do not match",)),
        ("surrogate-ensemble[surrogates=(atan(2)]", ("brackets do not match",)),
        ("pgd[steps=3]x", ("brackets do not match",)),
        ("[steps=3]", ("cannot read",)),
        ("surrogate-ensemble[surrogates=atan(2)]", ("surrogates", "surrogates=[a,b]")),
        ("surrogate-ensemble[surrogates=[]]", ("surrogates", "at least one")),
        (
            "surrogate-ensemble[surrogates=[atam(2)]]",
            ("surrogate-ensemble[surrogates=[atam(2)]]", "did you mean atan"),
        ),
        ("surrogate-ensemble[surrogates=[atan(2),3]]", ("surrogates.1",)),
        ("spgd[atan(2)]", ("name=value", "name=[a,b]", "'atan(2)'")),
        ("pgd[steps=3,steps=4]", ("steps", "twice")),
        ("pgd[loss=a/b]", ("loss", "cross-entropy")),
        ("spgd[surrogate=none]", ("parameter surrogate: ", "needs a derivative")),
        ("spgd[surrogate=[atan(2)]]", ("surrogate", "valid string")),
        ("spgd[steps=2000000]", ("steps", "less than or equal to 1000000")),
        ("fgsm[frame=shared]", ("did you mean frames", "parameters: frames")),
        ('autoattack[square={"queres":7}]', ("square.queres", "did you mean queries", "p_init")),
        (f"pgd[loss={'x' * 300}]", ("200 bytes",)),
        (f"pgd[steps={'9' * 5000}]", ("5011 characters", "200 bytes")),
        (f"pgd[steps={'[' * 60000}{']' * 60000}]", ("120011 characters",)),
        (f"pgd[steps={'9' * 23}]", ("steps", "less than or equal to 1000000")),
        ("pgd[steps=20.0]", ("steps", "valid integer, not 20.0")),
        ("pgd[steps=true]", ("steps", "valid integer, not true")),
        ('pgd[steps="20"]', ("steps", 'valid integer, not "20"')),
        ("pgd[relative_step=true]", ("relative_step", "valid number, not true")),
        ("foolbox:LinfPGD[steps=20.0]", ("steps", "int", "20.0")),
        ('spiking-autoattack[square={"queries":7.0}]', ("square.queries", "not 7.0")),
        ("pgd[stepps=3]", ("there is no parameter stepps", "did you mean steps")),
    ],
)
def test_what_cannot_be_read_is_an_error_of_one_line(request_: str, texts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        find_attack(request_)
    assert len(str(caught.value).splitlines()) == 1
    for text in texts:
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ("name", "writings"),
    [
        ("pgd", ("pgd[steps=20]", "pgd[ relative_step = 2.5 ]", "pgd[relative_step=25e-1]")),
        ("spgd", ("spgd[surrogate=assg_scaled]", "spgd[rate_share=0.50]")),
        (
            "surrogate-ensemble[paths=[hart],surrogates=[atan(2),triangle(0.5)/stbp]]",
            ("surrogate-ensemble[surrogates=[atan, triangle(.5) / stbp],paths=[hart]]",),
        ),
        ("sapgd[surrogate=atan(2)]", ("sapgd[surrogate=atan]", "sapgd[surrogate=atan(2.0)]")),
        ("pgd[relative_step=2.0]", ("pgd[relative_step=2]", "pgd[relative_step=2.0,steps=20]")),
        ("transfer", ("transfer[source=*]", "transfer[source=[*]]")),
        ("pgd", ("pgd[frames=all]", "pgd[steps=20,frames=all]")),
        ("pgd[frames=shared]", ("pgd[steps=20,frames=shared]", "pgd[ frames = shared ]")),
        ("pgd[frames=shared,steps=4]", ("pgd[steps=4,frames=shared]",)),
        ("foolbox:LinfPGD", ("foolbox:LinfPGD[steps=40]",)),
        ("deepfool[overshoot=1.0]", ("deepfool[overshoot=1]", "deepfool[overshoot=1.0,steps=50]")),
    ],
)
def test_one_attack_has_one_name(name: str, writings: tuple[str, ...]) -> None:
    wanted = find_attack(name)
    assert wanted.name == name
    for writing in writings:
        found = find_attack(writing)
        assert found.name == name
        assert found.attack.model_dump_json() == wanted.attack.model_dump_json()
        assert found.frames == wanted.frames


@pytest.mark.parametrize(
    "value",
    ["true", "1", "1.5", "null", "[]", "[a,b]", "plain", "atan(2)", True, 1, None, ["1", 1]],
)
def test_a_name_keeps_the_type_of_each_value(value) -> None:
    assert read_request(label("x", {"a": value})) == ("x", {"a": value})
