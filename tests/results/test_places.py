"""Where cells are stored, and where those of earlier versions are found."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from robench.results import CellResult, ResultStore
from tests.support.made_up import Builder, fall

FORMER = [
    ("digits/a", "foolbox:LinfPGD"),
    ("digits/a", "transfer[source=digits/b*]"),
    ("digits/Net.", "pgd"),
    ("digits/con", "pgd[steps=3]"),
]
"""Models and attacks whose folders had other names in earlier versions."""


def former_path(root: Path, cell: CellResult) -> Path:
    return root / cell.model / cell.attack.replace("/", "~") / f"{cell.hash[:16]}.json"


def move_to_former_place(store: ResultStore, cell: CellResult) -> Path:
    path = store.path(cell.model, cell.attack, cell.hash)
    former = former_path(store.root, cell)
    assert former != path
    former.parent.mkdir(parents=True)
    for suffix in (".json", ".parquet"):
        path.with_suffix(suffix).rename(former.with_suffix(suffix))
    return former


@pytest.mark.parametrize(("model", "attack"), FORMER)
def test_the_path_of_a_cell_is_legal_everywhere_and_the_cell_is_found(
    builder: Builder, model: str, attack: str
) -> None:
    cell = builder.add(model, attack, fall(40))
    path = builder.store.path(model, attack, cell.hash)
    assert path.is_file()
    assert not set(str(path.relative_to(builder.store.root))) & set('<>:"\\|?*~ ') - {"~"}
    assert builder.store.find(model, attack, cell.hash) == cell
    assert builder.store.cells() == ([cell], [])


@pytest.mark.parametrize(("model", "attack"), FORMER)
def test_a_cell_of_an_earlier_version_is_found_and_stays_one_cell(
    builder: Builder, model: str, attack: str
) -> None:
    store = builder.store
    cell = builder.add(model, attack, fall(40))
    former = move_to_former_place(store, cell)
    assert store.path(model, attack, cell.hash) == former
    assert store.find(model, attack, cell.hash) == cell
    assert len(store.rows(cell)) == 225
    again = store.write(cell, store.rows(cell))
    assert store.cells() == ([again], [])
    other = builder.add(model, attack, fall(50), seed=1)
    assert store.path(model, attack, other.hash).parent != former.parent


def test_the_chunks_of_an_earlier_version_are_continued(tmp_path: Path) -> None:
    store, digest = ResultStore(tmp_path), "f" * 64
    rows = pd.DataFrame({"index": [0, 1]})
    former = tmp_path / "digits" / "a" / "transfer[source=digits~b]" / f"{digest[:16]}.chunks"
    former.mkdir(parents=True)
    place = "digits/a", "transfer[source=digits/b]", digest
    store.chunks(*place).write(0, rows)
    assert list(former.iterdir())
    found = store.chunks(*place).rows(0)
    assert found is not None
    assert found.equals(rows)
    store.chunks(*place).drop()
    assert not former.exists()


def test_attacks_that_differ_in_case_only_have_folders_of_their_own(builder: Builder) -> None:
    names = ["foolbox:LinfPGD", "foolbox:linfpgd", "FOOLBOX:LINFPGD"]
    cells = [builder.add("digits/a", name, fall(40)) for name in names]
    paths = [builder.store.path("digits/a", cell.attack, cell.hash) for cell in cells]
    assert len({str(path.parent).lower() for path in paths}) == len(names)
    assert [builder.store.find("digits/a", c.attack, c.hash) for c in cells] == cells


def test_a_name_that_is_too_long_for_a_folder_is_shortened(builder: Builder) -> None:
    attack = f"pgd[surrogates=[{','.join(f'atan({k})' for k in range(60))}]]"
    cell = builder.add("digits/" + "n" * 150, attack, fall(40))
    assert builder.store.find(cell.model, attack, cell.hash) == cell
