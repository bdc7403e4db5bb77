import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robench.registry import model_folders
from tests.support.commands import Finished

Cli = Callable[..., Finished]
SMALL = ("--limit", "4", "--eps", "16/255")

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "{version}"

[tool.hatch.build.targets.wheel]
only-include = ["{module}.py"]

{entries}
"""
GOOD = """
import torch
from torch import nn

from robench import DirectAttack, Model
from robench.checks import ModelCheck
from robench.results import Check


def count(subject):
    return Check(name="counted", value=len(subject.x), threshold=1e6, verdict="valid")


counted = ModelCheck("counted", count, "There are images.", "Give more images.")


def make():
    torch.manual_seed(0)
    net = nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 10))
    return Model(net, "digits/plugin-net", 10)


def elsewhere():
    return Model(nn.Flatten(), "elsewhere/plugin-net", 10)


def wrong_shape():
    return Model(nn.Flatten(), "digits/wrong-shape", 10)


def unwritable_card():
    return Model(nn.Flatten(), "digits/bad-card", 10, card={"a": object()})


def number():
    return 7


class Unfinished(DirectAttack):
    name = "unfinished"


class PluginAttack(DirectAttack):
    \"\"\"Grey all over.\"\"\"

    name = "plugin-attack"
    level: float = 0.5

    def run(self, view, x, y, eps, noise):
        return x * 0 + self.level
"""
DISTRIBUTIONS = {
    "good-nets": (
        "1.2.3",
        "goodnets",
        GOOD,
        """
[project.entry-points."robench.models"]
"digits/plugin-net" = "goodnets:make"
"digits/twice" = "goodnets:make"
"digits/wrong-shape" = "goodnets:wrong_shape"
"digits/bad-card" = "goodnets:unwritable_card"
"digits/number" = "goodnets:number"
"digits/other-id" = "goodnets:make"
"digits/vgg16-ann" = "goodnets:make"
[project.entry-points."robench.attacks"]
plugin-attack = "goodnets:PluginAttack"
unfinished = "goodnets:Unfinished"
no-attack = "goodnets:number"
[project.entry-points."robench.datasets"]
no-dataset = "goodnets:number"
[project.entry-points."robench.checks"]
some-check = "goodnets:number"
counted = "goodnets:counted"
""",
    ),
    "failing-nets": (
        "0.9",
        "failingnets",
        'raise ImportError("no module\\nof that kind")\n',
        '[project.entry-points."robench.models"]\n"digits/plugin-failing" = "failingnets:make"\n',
    ),
    "rival-nets": (
        "7.0",
        "rivalnets",
        'def make():\n    raise RuntimeError("never called")\n',
        '[project.entry-points."robench.models"]\n'
        '"digits/twice" = "rivalnets:make"\n"elsewhere/plugin-net" = "goodnets:elsewhere"\n',
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three distributions, installed by pip."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name, (version, module, code, entries) in DISTRIBUTIONS.items():
        folder = source / name
        folder.mkdir()
        (folder / f"{module}.py").write_text(code, "utf-8")
        project = PROJECT.format(name=name, version=version, module=module, entries=entries)
        (folder / "pyproject.toml").write_text(project, "utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([*pip, *map(str, sorted(source.iterdir()))], check=True, timeout=120)
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The distributions, importable for the length of a test."""
    monkeypatch.syspath_prepend(site)
    yield site
    for _, module, _, _ in DISTRIBUTIONS.values():
        sys.modules.pop(module, None)


def imported() -> set[str]:
    return {module for _, module, _, _ in DISTRIBUTIONS.values()} & set(sys.modules)


def records(output: Path) -> dict[str, dict]:
    found = (json.loads(path.read_text()) for path in sorted(output.rglob("*.json")))
    return {record["model"]: record for record in found}


@pytest.mark.usefixtures("installed")
def test_listing_shows_plugins_and_imports_nothing(cli: Cli) -> None:
    models = {row["model"]: row for row in json.loads(cli("list", "models", "--json").out)}
    assert models["digits/plugin-net"]["source"] == "good-nets 1.2.3"
    assert models["digits/plugin-failing"]["source"] == "failing-nets 0.9"
    attacks = {row["attack"]: row for row in json.loads(cli("list", "attacks", "--json").out)}
    assert attacks["plugin-attack"]["source"] == "good-nets 1.2.3"
    assert not imported()


@pytest.mark.usefixtures("installed")
def test_a_failing_plugin_is_one_row_with_its_error(cli: Cli) -> None:
    done = cli("list", "plugins", "--json")
    assert done.code == 0
    rows = {(row["plugin"], row["from"]): row["state"] for row in json.loads(done.out)}
    assert rows["digits/plugin-net", "good-nets 1.2.3"] == "ready"
    assert rows["plugin-attack", "good-nets 1.2.3"] == "ready"
    error = rows["digits/plugin-failing", "failing-nets 0.9"]
    assert "no module of that kind" in error
    assert "failing-nets 0.9" in error
    lines = [line for line in cli("list", "plugins").out.splitlines() if "plugin-failing" in line]
    assert len(lines) == 1


@pytest.mark.usefixtures("installed")
def test_a_plugin_that_cannot_be_used_is_not_called_ready(cli: Cli) -> None:
    rows = json.loads(cli("list", "plugins", "--json").out)
    states = {row["plugin"]: row["state"] for row in rows if row["from"] == "good-nets 1.2.3"}
    reasons = {
        "digits/wrong-shape": "logits of shape (1, 10)",
        "digits/bad-card": "no plain data",
        "digits/number": "returned int",
        "digits/other-id": "'digits/plugin-net'",
        "digits/vgg16-ann": "is one of robench's and is claimed by",
        "digits/twice": "rival-nets 7.0",
        "unfinished": "abstract",
        "no-attack": "not a subclass",
        "no-dataset": "no robench Dataset",
        "some-check": "no ModelCheck or CellCheck",
    }
    assert {name for name, state in states.items() if state != "ready"} == set(reasons)
    for name, reason in reasons.items():
        assert reason in states[name]
    done = cli("doctor")
    assert done.code == 1
    for name in reasons:
        (line,) = (
            line for line in done.out.splitlines() if f"plug-in {name} from good-nets" in line
        )
        assert not line.endswith(": ready")


def test_model_and_attack_of_a_plugin_run_from_the_console(site: Path, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("robench")), "run", *SMALL]
    command += ["--models", "digits/plugin-net", "--attacks", "plugin-attack[level=0.25],fgsm"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "results")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = [json.loads(path.read_text()) for path in (tmp_path / "results").rglob("*.json")]
    by_attack = {record["attack"]: record["outcome"]["identity"] for record in found}
    assert set(by_attack) == {"fgsm", "plugin-attack[level=0.25]"}
    assert str(by_attack["fgsm"]["architecture_version"]).startswith("good-nets 1.2.3 ")
    assert len(by_attack["fgsm"]["fingerprint"]) == 64
    identity = by_attack["plugin-attack[level=0.25]"]
    assert "good-nets 1.2.3" in identity["attack_version"]
    assert identity["parameters"] == {"level": 0.25}
    assert all(record["outcome"]["registered"] for record in found)
    for record in found:
        checks = {check["name"]: check["value"] for check in record["outcome"]["checks"]}
        assert checks["counted"] == record["outcome"]["identity"]["samples"]


@pytest.mark.usefixtures("installed")
def test_failing_plugins_stop_nothing_else(cli: Cli, tmp_path: Path) -> None:
    glob = "digits/plugin-*,digits/twice*,elsewhere/*"
    done = cli("run", "--models", glob, "--attacks", "fgsm", *SMALL, "--output", tmp_path)
    assert done.code == 1
    assert set(records(tmp_path)) == {"digits/plugin-net"}
    assert records(tmp_path)["digits/plugin-net"]["status"] == "done"
    skipped = {line.split()[1].rstrip(":"): line for line in done.err.splitlines()[:-1]}
    assert set(skipped) == {"digits/plugin-failing", "digits/twice", "elsewhere/plugin-net"}
    assert "failing-nets 0.9" in skipped["digits/plugin-failing"]
    assert "Traceback" not in done.err


@pytest.mark.usefixtures("installed")
def test_a_failing_plugin_that_was_named_is_an_error(cli: Cli, tmp_path: Path) -> None:
    names = {
        "digits/plugin-failing": ("failing-nets 0.9", "no module of that kind"),
        "digits/twice": ("good-nets 1.2.3", "rival-nets 7.0"),
        "elsewhere/plugin-net": ("elsewhere",),
    }
    for name, texts in names.items():
        done = cli("run", "--models", name, "--attacks", "fgsm", *SMALL, "--output", tmp_path)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        for text in texts:
            assert text in done.err
    assert not records(tmp_path)


@pytest.mark.usefixtures("installed")
def test_an_attack_that_cannot_be_made_is_one_line(cli: Cli, tmp_path: Path) -> None:
    done = cli("run", "--attacks", "unfinished", *SMALL, "--output", tmp_path)
    assert done.code == 2
    (line,) = done.err.splitlines()
    for text in ("'unfinished'", "good-nets 1.2.3", "cannot be made", "abstract"):
        assert text in line


@pytest.mark.usefixtures("small_models")
def test_function_runs_unregistered(cli: Cli, tmp_path: Path) -> None:
    command = ("run", "--attacks", "fgsm", *SMALL, "--output", tmp_path)
    assert cli(*command, "--models", "smallmodels:small").code == 0
    assert records(tmp_path)["digits/small"]["outcome"]["registered"] is False
    for wrong in ("smallmodels:absent", "smallmodels:number"):
        done = cli(*command, "--models", wrong)
        assert done.code == 2
        assert len(done.err.splitlines()) == 1
        assert wrong in done.err


def test_folder_runs_unregistered(cli: Cli, tmp_path: Path) -> None:
    known = model_folders()["digits/vgg16-ann"]
    copy = shutil.copytree(known, tmp_path / "my-net")
    for folder, name in ((copy, "digits/my-net"), (known, "digits/vgg16-ann")):
        output = tmp_path / name
        done = cli("run", "--models", folder, "--attacks", "fgsm", *SMALL, "--output", output)
        assert done.code == 0
        assert records(output)[name]["outcome"]["registered"] is (folder == known)
