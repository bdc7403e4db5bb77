"""Names of files: legal on every system, and different for different names."""

from __future__ import annotations

import ntpath
import unicodedata
from pathlib import PureWindowsPath
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from robench.file_names import LONGEST, file_name
from robench.reporting.plots import areas_name, curves_name
from tests.support.checkpoints import ROOT

NAMES = st.one_of(
    st.text(),
    st.text(alphabet="aAbB%~/:*.2e ", max_size=8),
    st.text(alphabet="abcdef[]=,()_+-.0123456789", min_size=1),
    st.sampled_from(["con", "Prn", "aux.net", "nul.", "com1", "LPT9[steps=2]", "", ".", ".."]),
    st.text(alphabet="net-[steps=9]", min_size=LONGEST - 2, max_size=LONGEST + 2),
)


def is_reserved(name: str) -> bool:
    """Whether Python's own rule calls a name reserved on Windows."""
    rule = getattr(ntpath, "isreserved", None)  # from Python 3.13
    return bool(rule(name) if rule else PureWindowsPath(name).is_reserved())


def variants(name: str) -> list[str]:
    """Names that some file system, or some other encoding, takes for the same."""
    return [
        name.upper(), name.lower(), name.swapcase(), name.casefold(), f"{name} ", f"{name}.",
        f".{name}", f"{name}x", name.replace("/", "~"), name.replace("~", "/"), quote(name),
        unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name),
        file_name(name), file_name(name).lower(),
    ]  # fmt: skip


@given(NAMES)
@example("transfer[source=digits/vgg16]")
@example("foolbox:LinfPGD")
@example("\ud800")  # half a surrogate pair, which UTF-8 cannot encode
def test_a_file_name_is_legal_on_every_system(name: str) -> None:
    found = file_name(name)
    assert 0 < len(found.encode("ascii")) <= LONGEST
    assert not set(found) & set('<>:"/\\|?*\0 ')
    assert found.isprintable()
    assert not found.endswith(".")
    assert not is_reserved(found)
    # as the name of a figure
    assert not is_reserved(f"{found}-curves.png")


@given(NAMES)
@example("É")
@example("con")
@example("Net")
@example("a%2Fb")
def test_no_other_name_has_the_same_file_name_in_any_case(name: str) -> None:
    for other in variants(name):
        assert (file_name(other).lower() == file_name(name).lower()) == (other == name)


@given(st.text(alphabet="abcxyz0189_-+[](),=", min_size=1, max_size=LONGEST))
def test_a_legal_name_of_small_letters_is_its_own_file_name(name: str) -> None:
    if not is_reserved(name):
        assert file_name(name) == name


def test_the_published_results_stay_where_they_are() -> None:
    folders = [path for path in (ROOT / "results").rglob("*") if path.is_dir()]
    assert len(folders) > 80
    assert [path for path in folders if file_name(path.name) != path.name] == []


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("foolbox:LinfPGD", "foolbox%3ALinfPGD~"),
        ("transfer[sources=[a,b*]]", "transfer[sources=[a,b%2A]]"),
        (
            "surrogate-ensemble[surrogates=[triangle(1)/hart]]",
            "surrogate-ensemble[surrogates=[triangle(1)%2Fhart]]",
        ),
        ("my-net.", "my-net%2E"),
        ("NUL", "%4EUL~"),
        ("pgd[restarts=2]" * 20, "pgd[restarts=2]pgd[restarts=2]"),
    ],
)
def test_a_file_name_can_be_read(name: str, readable: str) -> None:
    assert file_name(name).startswith(readable)


@pytest.mark.parametrize("name", ["con.v2", "Mine", "mine.", "größe"])
def test_the_figures_of_a_data_set_have_legal_names_with_their_ending(name: str) -> None:
    table: Any = SimpleNamespace(name=name)
    for found, end in ((curves_name(table), "-curves.png"), (areas_name(table), "-auc.png")):
        assert found == file_name(name) + end
        assert not is_reserved(found)
