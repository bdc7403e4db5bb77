"""Cards, arguments and networks that are made to break a command: a line, and the rest goes on."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from robench.errors import UsageError
from robench.registry import find_attacks, model_folders
from tests.support.commands import Finished, refused
from tests.support.needs import needs_linux

Cli = Callable[..., Finished]
TINY = ("--limit", "4", "--eps", "8/255", "--attacks", "fgsm")
DEEP = "x = " + "[" * 3000 + "]" * 3000 + "\n"
NETWORKS = """
import os
import sys

import robench
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(3 * 32 * 32, 10)

    def forward(self, x):
        self.before(x)
        return self.head(x.flatten(1))

    def before(self, x):
        pass


class Odd(BaseException):
    pass


def raising(error):
    class Raising(Net):
        def before(self, x):
            raise error

    return Raising()


def odd():
    return raising(Odd("gone\\n\\x1b[2J"))


def generator():
    return raising(GeneratorExit("gone"))


def leaving():
    return raising(SystemExit("gone"))


def odd_factory():
    raise Odd("gone\\n\\x1b[2J")


def moving_factory():
    os.chdir("/")
    return Net()


def moving():
    class Moving(Net):
        def before(self, x):
            os.chdir("/")

    return Moving()


class _Move(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        os.chdir("/")
        return gradient


def moving_backward():
    class Moving(Net):
        def forward(self, x):
            return super().forward(_Move.apply(x))

    return Moving()


def strict(error):
    class Strict(Net):
        def before(self, x):
            if x.dtype != torch.float32:
                raise error

    return Strict()


def asserting():
    return strict(AssertionError("float32, please"))


def looking_up():
    return strict(KeyError(torch.float64))


def own_error():
    return strict(type("Refusal", (Exception,), {})("float32, please"))
"""


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "networks.py").write_text(NETWORKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(os.sys.modules, "networks", raising=False)  # type: ignore[attr-defined]
    return tmp_path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models folder with a good and a bad model of digits."""
    for name in ("good", "bad"):
        folder = tmp_path / "models" / "digits" / name
        shutil.copytree(model_folders()["digits/vgg16-ann"], folder)
    return tmp_path / "models"


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(card: str) -> str:
        assert old in card
        return card.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda card: card + DEEP, "nested too deeply"),
        (lambda card: card + "y = " + "{a=" * 3000 + "1" + "}" * 3000, "nested too deeply"),
        (lambda card: card + "[" + "a." * 20_000 + "b]\nc = 1\n", "nested too deeply"),
        (lambda card: card + f"y = {'9' * 4301}\n", "not valid TOML"),
        (replaced("classes = 10", f"classes = {2**64}"), "longer than 64 bits"),
        (replaced("classes = 10", f"classes = {2**62}"), "key model.classes"),
        (replaced("classes = 10", f"classes = [{10**400}]"), "longer than 64 bits"),
        (lambda card: card + "#" * 2**20, "bytes, and a card at most"),
        (lambda card: card + '["\\u001b[2J"]\n', r"key \x1b[2J"),
    ],
)
def test_a_hostile_card_stops_only_its_model(
    cli: Cli, models: Path, tmp_path: Path, change: Callable[[str], str], reason: str
) -> None:
    card = models / "digits" / "bad" / "model.toml"
    card.write_text(change(card.read_text()))
    done = cli("run", "--models", "digits/bad", "--models-dir", models, *TINY, "--dry-run")
    refused(done, card, reason)
    assert "\x1b" not in done.err
    done = cli("run", "--models", "digits/*", "--models-dir", models, *TINY, "--dry-run")
    assert "digits/good" in done.out
    assert reason in done.err
    assert "Traceback" not in done.err
    listed = cli("list", "models", "--models-dir", models)
    assert (listed.code, listed.err) == (0, "")
    assert reason in listed.out


@pytest.mark.parametrize("name", ["recipe", "attack"])
def test_hostile_recipes_and_attack_cards_are_refused(
    cli: Cli, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name == "recipe":
        path = models / "digits" / "bad" / "recipe.toml"
        path.write_text(path.read_text() + DEEP)
        refused(cli("train", path), path, "nested too deeply")
    else:
        path = tmp_path / "deep.toml"
        path.write_text(DEEP)
        monkeypatch.setattr("robench.registry.attacks.attack_files", lambda: {"deep": path})
        refused(cli("run", "--attacks", "deep", "--dry-run"), path, "nested too deeply")


@needs_linux
def test_a_card_that_is_a_pipe_is_not_read(cli: Cli, models: Path) -> None:
    card = models / "digits" / "bad" / "model.toml"
    card.unlink()
    os.mkfifo(card)
    done = cli("run", "--models", "digits/bad", "--models-dir", models, *TINY, "--dry-run")
    refused(done, card, "it is no file")


@pytest.mark.parametrize(
    "option", ["--attacks", "--models", "--eps", "--grid", "--limit", "--dataset", "--device"]
)
@pytest.mark.parametrize("text", ["pgd\udcff", "\ud800", "fgsm[\udc80=1]"])
def test_an_argument_that_is_no_text_is_refused(cli: Cli, option: str, text: str) -> None:
    done = cli("run", "--dry-run", option, text)
    refused(done, "UTF-8")
    assert done.err.isascii()


@pytest.mark.parametrize("text", ["pgd\udcff", "pgd[steps=\ud800]", "pgd[\udcff=1]", "\udcff:a"])
def test_an_attack_that_is_no_text_is_refused_in_python_too(text: str) -> None:
    with pytest.raises(UsageError):
        find_attacks(text)


@pytest.mark.parametrize("name", ["odd", "generator", "leaving"])
def test_an_exception_of_any_kind_fails_only_its_cell(cli: Cli, networks: Path, name: str) -> None:
    models = f"networks.py:{name},digits/vgg16-ann"
    done = cli("run", "--models", models, "--dataset", "digits", *TINY, "--output", "out")
    assert done.code == 1, done.err
    assert "gone" in next(line for line in done.out.splitlines() if "failed" in line)
    assert "\x1b" not in done.out + done.err
    (good,) = (networks / "out" / "digits" / "vgg16-ann").rglob("*.json")
    assert json.loads(good.read_text())["status"] == "done"
    (bad,) = set((networks / "out").rglob("*.json")) - {good}
    assert "\\u001b" not in bad.read_text()
    checked = cli("check", f"networks.py:{name}", "--dataset", "digits")
    assert checked.code == 1
    (line,) = checked.err.splitlines()
    assert "gone" in line
    assert "\x1b" not in line


def test_a_factory_that_raises_anything_is_refused(cli: Cli, networks: Path) -> None:
    models = ("--models", "networks.py:odd_factory", "--dataset", "digits")
    refused(cli("run", *models, "--dry-run"), r"Odd: gone \x1b[2J")


@pytest.mark.parametrize("name", ["moving_factory", "moving", "moving_backward"])
def test_a_network_that_changes_the_folder_changes_no_path(
    cli: Cli, networks: Path, name: str
) -> None:
    models = ("--models", f"networks.py:{name}", "--dataset", "digits")
    attacks = ("--attacks", "fgsm,pgd[steps=2]", "--limit", "4", "--eps", "8/255")
    done = cli("run", *models, *attacks, "--output", "out")
    assert done.code == 0, done.err
    assert list((networks / "out").rglob("*.json"))
    assert Path.cwd() == networks


@pytest.mark.parametrize("name", ["asserting", "looking_up", "own_error"])
def test_a_network_that_insists_on_float32_is_evaluated(
    cli: Cli, networks: Path, name: str
) -> None:
    models = ("--models", f"networks.py:{name}", "--dataset", "digits", "--checks", "full")
    done = cli("run", *models, *TINY, "--limit", "20", "--output", "out")
    assert done.code == 0, done.err + done.out
    (stored,) = (networks / "out").rglob("*.json")
    checks = {check["name"]: check for check in json.loads(stored.read_text())["outcome"]["checks"]}
    assert checks["deterministic"]["verdict"] == "valid"
    assert checks["deterministic"]["threshold"] == 1e-3  # of float32
