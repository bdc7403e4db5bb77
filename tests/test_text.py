"""Text of others on a terminal or a page."""

import io

import pytest

from robench.text import Visible, one_line, terminal, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ε ≤ 8/255 ⚠\n\tnext", "plain ε ≤ 8/255 ⚠\n\tnext"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("over\rwritten\x08\x7f", r"over\rwritten\x08\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("name\u202egnp.exe", r"name\u202egnp.exe"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("not\udcffutf-8", r"not\udcffutf-8"),
        ("\0", r"\x00"),
        ("no\xa0break", "no\xa0break"),
    ],
)
def test_control_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown
    stream = io.StringIO()
    print(text, file=Visible(stream))  # type: ignore[arg-type]
    assert stream.getvalue() == shown + "\n"


def test_one_line_has_no_line_ends_and_a_length() -> None:
    assert one_line("a\n\n b\x1b\u2028c") == r"a b\x1b c"
    assert one_line("x" * 9, 5) == "xxxx…"
    assert one_line(ValueError("why\nnot")) == "why not"


def test_what_controls_the_terminal_is_written_to_the_stream_itself() -> None:
    stream = io.StringIO()
    assert terminal(Visible(stream)) is stream  # type: ignore[arg-type]
    assert terminal(stream) is stream
