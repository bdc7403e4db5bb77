"""The committed pages of the studies show their committed tables."""

from __future__ import annotations

import pytest

from tests.support.checkpoints import ROOT
from tests.support.commands import Cli

TABLES = ROOT / "studies" / "tables"


@pytest.mark.parametrize("name", ["doubling", "gradients", "strength", "timesteps"])
def test_the_committed_pages_are_those_of_their_tables(study: Cli, name) -> None:
    done = study(name, "--check", "--output", TABLES)
    assert (done.code, done.err) == (0, "")
