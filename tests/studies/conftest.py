from __future__ import annotations

import pytest

from studies.__main__ import main
from tests.support.commands import Cli, runner


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``python -m studies`` with some arguments in this process."""
    return runner(main, monkeypatch, capsys)
