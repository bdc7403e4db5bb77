"""Models and attacks that would give wrong results are refused with one line."""

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from robench.attacks import DirectAttack
from robench.engine.chunk import Chunk
from robench.engine.sweep import ChunkSweep
from robench.epsilon import parse_grid
from robench.errors import ContentError, EvaluationError, UsageError
from robench.registry import Model, find_attack

MODELS = """
import sys
from torch import nn
from robench import Model

def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

def one(): return Model(net(), "digits/same", 10)
def two(): return Model(net(), "digits/same", 10)
def away(): return Model(net(), "digits/../../away", 10)
def here(): return Model(net(), "digits/.", 10)
def deep(): return Model(net(), "digits/a/b", 10)
def leaves(): sys.exit(0)
def two_lines(): raise ValueError("first\\nsecond")
def few(): return Model(net(), "digits/few", 5)
def text(): return Model(net(), "digits/text", "10")
def truth(): return Model(net(), "digits/truth", True)
def mode(): return Model(net(), "digits/mode", 10, mode="foo")
def still(): return Model(net(), "digits/still", 10, timesteps=0)
def bare(): return Model(lambda x: x, "digits/bare", 10)
def number(): return Model(net(), 7, 10)
def odd(): return Model(net(), "digits/odd", 10, card={"what": object()})
"""


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "refusable.py").write_text(MODELS, "utf-8")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "refusable", raising=False)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ("refusable:away", "digits/../../away"),
        ("refusable:here", "model id 'digits/.'"),
        ("refusable:deep", "digits/a/b"),
        ("refusable:one,refusable:two", "two models are called digits/same"),
        ("refusable:leaves", "SystemExit"),
        ("leaving:net", "cannot import leaving:net: SystemExit: 0"),
        ("refusable:two_lines", "first second"),
        ("refusable:odd", "plain data"),
        ("refusable:few", "digits/few has 5 classes, data set digits has 10"),
        ("refusable:text", "classes is '10', it has to be an integer from 2"),
        ("refusable:truth", "classes is True"),
        ("refusable:mode", "mode is 'foo', it has to be ann or hybrid or stbp"),
        ("refusable:still", "timesteps is 0"),
        ("refusable:bare", "network is <function"),
        ("refusable:number", "model id 7"),
        ("x" * 300, ""),
    ],
)
def test_a_model_that_cannot_be_stored_is_one_line(cli, functions, tmp_path, names, word) -> None:
    found = cli("run", "--models", names, "--limit", "2", "--output", tmp_path / "out")
    assert found.code == 2
    assert len(found.err.strip().splitlines()) == 1
    assert word in found.err
    assert not list(tmp_path.parent.glob("away"))


@pytest.mark.parametrize("value", ["Infinity", "NaN"])
def test_a_parameter_has_to_be_finite(value) -> None:
    with pytest.raises(UsageError, match="relative_step"):
        find_attack(f"pgd[relative_step={value}]")


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 10)), "returned (4, 10) for 4 images; with its"),
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 1), nn.Flatten(0)), "shape (4, 2)"),
        (nn.AdaptiveMaxPool2d(1, return_indices=True), "returned tuple"),
    ],
)
def test_logits_have_a_column_for_each_class(module, text) -> None:
    with pytest.raises(EvaluationError) as caught:
        Model(module, "digits/shape", 2).logits(torch.rand(4, 3, 2, 2))
    assert text in str(caught.value)


class Undefined(DirectAttack):
    """Returns NaN."""

    name: ClassVar[str] = "undefined"

    def run(self, view, x, y, eps, noise):
        return x * torch.nan


class Grey(DirectAttack):
    """Returns one channel of three."""

    name: ClassVar[str] = "grey"

    def run(self, view, x, y, eps, noise):
        return x[:, :1]


@pytest.mark.parametrize(
    ("attack", "text"),
    [(Undefined(), "NaN or infinite"), (Grey(), r"shape \(4, 1, 2, 2\) for .* \(4, 3, 2, 2\)")],
)
def test_an_unusable_candidate_does_not_count_as_robust(attack, text) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    model = Model(net, "digits/small", 2)
    x = torch.rand(4, 3, 2, 2)
    chunk = Chunk(x, model.logits(x).argmax(1), range(4))
    sweep = ChunkSweep(model, attack, chunk, parse_grid(["0.1"]), seed=0, batch_size=4)
    with pytest.raises(EvaluationError, match=text):
        sweep.run()


def test_the_norm_of_an_attack_card_is_that_of_its_implementation(tmp_path, monkeypatch) -> None:
    card = tmp_path / "fgsm.toml"
    text = 'implementation = "fgsm"\nnorm = "l2"\ndescription = ""\ncitation = ""\n'
    card.write_text(text, "utf-8")
    monkeypatch.setattr("robench.registry.attacks.attack_files", lambda: {"fgsm": card})
    with pytest.raises(ContentError, match="key norm"):
        find_attack("fgsm")


def test_a_folder_where_a_card_should_be_is_one_line(cli, tmp_path) -> None:
    (tmp_path / "digits" / "damaged" / "model.toml").mkdir(parents=True)
    found = cli("list", "models", "--models-dir", tmp_path)
    assert found.code == 0
    assert "digits/vgg16-ann" in found.out
