"""``robench new plugin``: what it writes is installed by pip, and robench attacks it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robench.cli.new import FILES, plugin_files
from tests.support.checkpoints import ROOT
from tests.support.commands import Cli, refused

NAME = "acme-nets"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the command ran."""
    folder = tmp_path_factory.mktemp("new")
    run(sys.executable, "-m", "robench", "new", "plugin", NAME, at=folder)
    return folder


@pytest.fixture(scope="module")
def site(written: Path) -> Path:
    """A folder with the plug-in, installed by pip."""
    site = written / "site"
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index")
    where = ("--no-deps", "--no-build-isolation", "--target", str(site), f"./{NAME}")
    run(sys.executable, *pip, *where, at=written)
    return site


def run(*command: str, at: Path, **variables: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    done = subprocess.run(
        command, cwd=at, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_prints_three_commands_that_work(
    cli: Cli, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("new", "plugin", NAME)
    assert done.code == 0
    assert done.err == ""
    first, *commands = done.out.splitlines()
    assert first == f"wrote {NAME}; next:"
    install, listing, attack = (line.split() for line in commands)
    assert install == ["pip", "install", "-e", f"./{NAME}"]
    assert listing == ["robench", "list", "plugins"]
    monkeypatch.syspath_prepend(site)
    lines = [line for line in cli(*listing[1:]).out.splitlines() if NAME in line]
    assert len(lines) == 3
    assert all(line.endswith("ready") for line in lines)
    ran = cli(*attack[1:], "--limit", "8", "--json")
    assert ran.code == 0, ran.err
    cells = {cell["attack"]: cell["outcome"] for cell in json.loads(ran.out)}
    assert cells["pgd"]["verdict"] == "invalid"
    assert cells["spgd"]["verdict"] == cells[f"{NAME}-corner"]["verdict"] == "valid"
    assert cells["spgd"]["clean_accuracy"] == 1
    assert cells["spgd"]["curve"][-1]["robust"] < cells[f"{NAME}-corner"]["curve"][-1]["robust"]
    assert cells["spgd"]["identity"]["dataset"] == f"{NAME}-bars"
    assert cells["spgd"]["registered"]
    for module in [name for name in sys.modules if name.partition(".")[0] == "acme_nets"]:
        del sys.modules[module]


@pytest.mark.parametrize(
    ("what", "name"),
    [("models", "-bars/snn"), ("attacks", "-corner"), ("datasets", "-bars")],
)
def test_lists_show_its_contents(site: Path, tmp_path: Path, what: str, name: str) -> None:
    path = os.pathsep.join([str(ROOT), str(site)])
    out = run(sys.executable, "-m", "robench", "list", what, at=tmp_path, PYTHONPATH=path)
    (line,) = [line for line in out.splitlines() if line.startswith(NAME + name)]
    assert "not loaded" in line


def test_its_own_tests_pass(written: Path, site: Path) -> None:
    path = os.pathsep.join([str(ROOT), str(site)])
    out = run(sys.executable, "-m", "pytest", "-q", at=written / NAME, PYTHONPATH=path)
    assert "2 passed" in out


def test_what_it_writes_is_tidy(written: Path) -> None:
    folder, ruff = written / NAME, (sys.executable, "-m", "ruff")
    run(*ruff, "check", "--no-cache", "--isolated", "--select", "E,F,I,B,UP,SIM", ".", at=folder)
    run(*ruff, "format", "--no-cache", "--isolated", "--check", ".", at=folder)
    text = "".join(path.read_text("utf-8") for path in folder.rglob("*.[pmt]*[ydl]"))
    assert "{{" not in text
    assert "{%" not in text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("My_Net", "such as my-net"),
        ("HTTPNet2", "such as http-net-2"),
        ("my_net", "such as my-net"),
        ("a--b", "such as a-b"),
        ("-", "such as my-plugin"),
        ("3d", "such as my-plugin"),
        ("a/b", "such as a-b"),
        ("..", "such as my-plugin"),
        ("é", "such as my-plugin"),
        ("", "such as my-plugin"),
        ("con", "such as my-plugin"),
        ("x" * 200, "such as my-plugin"),
        ("class", "a keyword of Python"),
        ("json", "a module of Python"),
        ("tests", "a module of Python"),
        ("robench", "is installed here"),
        ("torch", "is installed here"),
    ],
)
def test_other_names_are_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(cli("new", "plugin", name), repr(name), text)
    assert not list(tmp_path.iterdir())


def test_a_name_with_dashes_is_that_of_a_module_with_underscores(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "some_module.py").write_text("")
    refused(cli("new", "plugin", "some-module"), "is installed here")
    assert cli("new", "plugin", "other-module").code == 0
    assert (tmp_path / "other-module" / "other_module" / "model.py").is_file()


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_exists_is_kept(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "other-nets"
    if kind == "folder":
        there.mkdir()
    elif kind == "file":
        there.write_text("mine")
    else:
        there.symlink_to(tmp_path / "nowhere")
    refused(cli("new", "plugin", "other-nets"), "other-nets", "exists already")
    assert [path.name for path in tmp_path.iterdir()] == ["other-nets"]
    assert kind != "file" or there.read_text() == "mine"


def test_a_folder_of_that_name_elsewhere_is_no_module(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_folder").mkdir()
    assert cli("new", "plugin", "my-folder").code == 0


def test_every_template_is_used() -> None:
    templates = ROOT / "robench" / "cli" / "templates" / "plugin"
    assert {path.name.removesuffix(".j2") for path in templates.iterdir()} == set(FILES.values())


def test_the_page_shows_what_is_written() -> None:
    page = (ROOT / "docs" / "plugins.md").read_text("utf-8")
    shown = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)```", page, re.M | re.S))
    files = plugin_files("my-plugin", "my_plugin")
    assert set(shown) == {path for path in files if path.endswith((".toml", ".py"))} - {
        "my_plugin/__init__.py", "tests/test_my_plugin.py",
    }  # fmt: skip
    assert {path: files[path] for path in shown} == shown
