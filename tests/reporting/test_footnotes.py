from __future__ import annotations

import csv
import io
import json
import re

import pytest

from robench.reporting import build_report, render
from robench.reporting.footnotes import footnotes, row_words
from tests.support.made_up import Builder, fall

MARKS = re.compile(r"<sup>([a-z ]+)</sup>")


def marks(text: str) -> list[str]:
    return [mark for found in MARKS.findall(text) for mark in found.split()]


def add_invalid(builder: Builder, *reasons: str, models: int = 2) -> None:
    for number in range(models):
        for attack in ("fgsm", "pgd", "apgd-t"):
            builder.add(f"digits/m{number}", attack, fall(40), verdict="invalid", reasons=reasons)
        builder.add(f"digits/m{number}", "spgd", fall(40))


def board(text: str) -> tuple[list[str], str]:
    """The rows of the first table in Markdown, and the footnotes below it."""
    lines = text.splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("| # |"))
    rows = [line for line in lines[start + 2 : lines.index("", start)] if line]
    return rows, lines[start + len(rows) + 3]


def test_a_reason_is_written_once_and_marked_in_its_cells(builder: Builder) -> None:
    add_invalid(builder, "gradient-unavailable")
    text = render(build_report(builder.store))
    rows, notes = board(text)
    assert text.count("gradient-unavailable") == 1
    assert notes == "<sup>a</sup> gradient-unavailable."
    assert all(marks(row) == ["a", "a", "a"] for row in rows)


@pytest.mark.parametrize("reasons", [("x",), ("x", "y"), ("spgd is 4.0 points lower", "x")])
def test_every_mark_has_a_footnote_and_every_footnote_a_mark(builder: Builder, reasons) -> None:
    add_invalid(builder, *reasons)
    builder.add("digits/z", "pgd", fall(30), verdict="suspect", reasons=("z",))
    rows, notes = board(render(build_report(builder.store)))
    used = {mark for row in rows for mark in marks(row)}
    assert used == set(marks(notes)) != set()
    assert len(marks(notes)) == len(used)


def test_no_word_of_a_verdict_is_repeated_in_a_row(six: Builder) -> None:
    for row in build_report(six.store).tables[0].rows:
        words = [part.partition(":")[0] for part in row_words(row).split("; ")]
        assert len(words) == len(set(words))
    rows, _ = board(render(build_report(six.store)))
    for line in rows:
        for word in ("invalid", "suspect", "missing", "not applicable", "gradient-unavailable"):
            assert line.count(word) <= 1


def test_the_links_of_html_lead_to_footnotes(six: Builder) -> None:
    text = render(build_report(six.store), "html")
    links = set(re.findall(r'href="#([^"]+)"', text))
    targets = re.findall(r'id="([^"]+)"', text)
    assert links == set(targets) != set()
    assert len(targets) == len(set(targets))
    assert text.count("gradient-unavailable") == 1


def test_a_table_of_controls_has_footnotes_of_its_own(six: Builder) -> None:
    text = render(build_report(six.store))
    ranked, controls = text.split("### Controls")
    assert "<sup>a</sup> gradient-zero" in controls
    assert "gradient-zero" not in ranked


def test_csv_and_json_keep_the_words(six: Builder) -> None:
    report = build_report(six.store)
    rows = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    found = next(row for row in rows if row["model"] == "digits/vgg16-hybrid")
    assert "gradient-unavailable, spgd is 52.0 points of AUC lower" in found["pgd_reasons"]
    assert (
        "; pgd invalid (gradient-unavailable, spgd is 52.0 points of AUC lower" in found["verdict"]
    )
    data = json.loads(render(report, "json"))
    row = next(r for r in data["datasets"][0]["rows"] if r["model"] == "digits/vgg16-hybrid")
    assert row["attacks"]["pgd"]["reasons"] [:2] == [
        "gradient-unavailable", "spgd is 52.0 points of AUC lower",
    ]  # fmt: skip


def notes_of(builder: Builder, *reasons: str) -> dict[str, str]:
    for number, reason in enumerate(reasons):
        builder.add(
            f"digits/m{number:02}", "pgd", fall(30, number), verdict="invalid", reasons=(reason,)
        )
    return dict(footnotes(build_report(builder.store).tables[0].rows).texts)


def test_reasons_that_differ_in_a_number_share_a_footnote(builder: Builder) -> None:
    gaps = ("4.3", "29.4", "12.0")
    found = notes_of(builder, *(f"spgd is {gap} points lower" for gap in gaps))
    assert found == {"a": "spgd is 4.3 to 29.4 points lower"}


def test_names_with_numbers_stay_apart(builder: Builder) -> None:
    found = notes_of(
        builder, "pgd[steps=100] is 5.0 points lower", "pgd[steps=20] is 5.0 points lower"
    )
    assert sorted(found.values()) == [
        "pgd[steps=100] is 5.0 points lower", "pgd[steps=20] is 5.0 points lower",
    ]  # fmt: skip


def test_there_are_marks_for_many_reasons(builder: Builder) -> None:
    found = notes_of(builder, *(f"reason-{number}" for number in range(30)))
    assert list(found)[:2] == ["a", "b"]
    assert list(found)[25:27] == ["z", "aa"]
    assert len(set(found.values())) == 30


def test_a_table_of_valid_cells_has_no_footnotes(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(30))
    for form in ("md", "html"):
        text = render(build_report(builder.store), form)  # type: ignore[arg-type]
        assert "<sup>" not in text


def test_a_hostile_reason_is_escaped_in_a_footnote(builder: Builder) -> None:
    builder.add("digits/a", "pgd", fall(30), verdict="suspect", reasons=("<b>*x* 3 y",))
    report = build_report(builder.store)
    assert r"\<b\>\*x\* 3 y." in render(report)
    assert "&lt;b&gt;*x* 3 y" in render(report, "html")
