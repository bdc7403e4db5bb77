"""Why a cell failed, on one line."""

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robench.results.reason import LONGEST, short_reason
from tests.support.commands import Finished

Cli = Callable[..., Finished]


def own_code() -> None:
    torch.zeros(2) @ torch.zeros(3)


def chained() -> None:
    try:
        own_code()
    except RuntimeError as error:
        raise ValueError("first line\n  second line") from error


def test_a_traceback_becomes_type_message_and_place() -> None:
    with pytest.raises(ValueError, match="first") as caught:
        chained()
    text = "".join(traceback.format_exception(caught.value))
    reason = short_reason(text)
    assert reason.startswith("ValueError: first line second line (test_reason.py:")
    assert reason.endswith(" in chained)")


def test_the_place_is_the_users_own_where_a_library_raised() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/home/me/net.py", line 7, in forward\n    return self.fc(x)\n           ^^^^^^\n'
        '  File "/v/site-packages/torch/nn/linear.py", line 125, in forward\n    return F(x)\n'
        "RuntimeError: shapes do not match\n"
    )
    assert short_reason(text) == "RuntimeError: shapes do not match (net.py:7 in forward)"


def test_other_texts_stay_on_one_short_line() -> None:
    assert short_reason("the attack needs\nspikes") == "the attack needs spikes"
    assert short_reason("") == ""
    assert len(short_reason("x" * 999)) == LONGEST


BAD = """
from torch import nn
from robench import Model

class Bad(nn.Module):
    def forward(self, x):
        raise ValueError("broken here")

def bad():
    return Model(Bad(), "digits/bad", 10)
"""


def test_a_failed_cell_says_where_and_the_record_keeps_the_whole(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "badmodels.py").write_text(BAD, "utf-8")
    monkeypatch.chdir(tmp_path)
    done = cli("run", "--models", "badmodels:bad", "--attacks", "fgsm", "--limit", "2")
    assert done.code == 1
    (line,) = (line for line in done.out.splitlines() if "failed:" in line)
    assert line.endswith("failed: ValueError: broken here (badmodels.py:7 in forward)")
    (record,) = (tmp_path / "results").rglob("*.json")
    assert "Traceback" in record.read_text("utf-8")
    assert cli("leaderboard", "--all-runs").code == 0
    (row,) = (x for x in Path("leaderboard.md").read_text("utf-8").splitlines() if "bad |" in x)
    assert row.endswith("failed: ValueError: broken here (badmodels.py:7 in forward) |")
