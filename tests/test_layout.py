"""The layout of the source: small packages, short files, and imports without a cycle."""

from __future__ import annotations

import importlib
from typing import get_args

import grimp
import networkx
import pytest

from tests.support.checkpoints import ROOT

MODULES = 15
LINES = 300


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("robench", include_external_packages=True)


def test_no_package_has_too_many_modules() -> None:
    packages = [init.parent for init in (ROOT / "robench").rglob("__init__.py")]
    sizes = {str(package): len(list(package.glob("*.py"))) for package in packages}
    assert {package: size for package, size in sizes.items() if size > MODULES} == {}


def test_files_are_short() -> None:
    files = [
        file
        for folder in ("robench", "studies", "performance", "tests")
        for file in (ROOT / folder).rglob("*.py")
    ]
    lengths = {
        file.relative_to(ROOT).as_posix(): len(file.read_text("utf-8").splitlines())
        for file in files
    }
    assert {file: lines for file, lines in lengths.items() if lines > LINES} == {}


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("Gradients", ("robench.attacks.contract.attack", "robench.results.schema")),
        ("Format", ("robench.cli.leaderboard", "robench.reporting.leaderboard")),
        ("FigureFormat", ("robench.cli.options", "robench.reporting.figures.saving")),
    ],
)
def test_a_list_that_is_written_twice_is_the_same(name: str, modules: tuple[str, str]) -> None:
    """Twice, so that a command or a record needs no import of torch or pandas."""
    found = [getattr(importlib.import_module(module), name) for module in modules]
    choices = [get_args(get_args(one)[0]) or get_args(one) for one in found]
    assert choices[0] == choices[1]
    assert choices[0]


def test_the_imports_have_no_cycle(graph: grimp.ImportGraph) -> None:
    imports = networkx.DiGraph(
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    )
    cycles = [sorted(part) for part in networkx.strongly_connected_components(imports)]
    assert [cycle for cycle in cycles if len(cycle) > 1] == []


def test_the_package_imports_neither_studies_nor_performance(graph: grimp.ImportGraph) -> None:
    assert not graph.modules & {"studies", "performance", "tests"}
