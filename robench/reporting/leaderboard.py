"""The leaderboard: a pure function of the store, as Markdown, HTML, CSV or JSON."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from robench.atomic import remove_leftovers, replacing
from robench.epsilon import NORMS
from robench.errors import UsageError
from robench.reporting.export import csv_text, json_text
from robench.reporting.footnotes import footnotes, row_words
from robench.reporting.plots import areas_name, curves_name
from robench.reporting.report import AtHeadline, Entry, Estimate, Report, Row, Table
from robench.reporting.work import COLUMNS, has_work, work_line, work_texts
from robench.results import Verdict
from robench.results.again import table_command
from robench.text import visible

Format = Literal["md", "html", "csv", "json"]
FIGURES = "results/figures"

_NOTES = {("spgd", "loss"): " (margin on ann and hybrid)"}
"""What a parameter of an implementation does not say."""
_SPACE = re.compile(r"\s+")
_SPECIAL = re.compile(r"[\\`*_\[\]<>#!|~$@&]|:(?=//)|(?<=www)\.")
"""Characters with a meaning in Markdown, including those of bare links."""


def render(
    report: Report,
    form: Format = "md",
    *,
    figures: str = FIGURES,
    checks: str = "",
    all_runs: bool = False,
) -> str:
    """The leaderboard as text; equal reports give equal texts.

    Args:
        report: as from :func:`robench.reporting.build_report`.
        form: ``md``, ``html``, ``csv`` or ``json``.
        figures: folder of the figures as in the links of the document; empty for no figures.
        checks: the page that explains the verdicts, as in a link of the document; empty for none.
        all_runs: whether to show older runs, too, and the cells that have no result.

    Raises:
        UsageError: the form is unknown.
    """
    others, report = report.others, report if all_runs else report.newest()
    match form:
        case "md":
            return _document("leaderboard.md.j2", report, figures, checks)
        case "html":
            return _document("leaderboard.html.j2", report, figures, checks)
        case "csv":
            return csv_text(report, header=bool(others))
        case "json":
            return json_text(report)
    raise UsageError(f"unknown format {form!r}; formats: {', '.join(get_args(Format))}")


def write(path: Path, text: str) -> None:
    """Write the leaderboard atomically: a reader sees the old text or the new one.

    Raises:
        UsageError: the path cannot be written to.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        with replacing(path) as temporary:
            temporary.write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None


def is_stale(path: Path, text: str) -> bool:
    """Whether the file is missing or its text differs from ``text``."""
    try:
        return path.read_text("utf-8") != text
    except (OSError, UnicodeDecodeError):
        return True


def link(path: Path, document: Path) -> str:
    """The path as a link in a document."""
    try:
        return Path(os.path.relpath(path, document.parent)).as_posix()
    except ValueError:  # on another drive of Windows
        return path.resolve().as_uri()


def page_of_checks(document: Path) -> str:
    """The page about the checks as a link in a document of a checkout; empty without one."""
    page = document.parent / "docs" / "checks.md"
    return link(page, document) if page.is_file() else ""


def page_of(results: Path, form: str = "md") -> Path:
    """The leaderboard of a folder of results: beside it if it is called ``results``, else in it."""
    folder = results.parent if results.name == "results" else results
    return folder / f"leaderboard.{form}"


def figures_of(results: Path, page: Path) -> Path:
    """The folder of the figures of a page: beside the page, unless it is that of the results."""
    if page.absolute() == page_of(results.absolute(), page.suffix.removeprefix(".")):
        return results / "figures"
    return page.with_name(f"{page.stem}-figures")


def escape_markdown(text: str) -> str:
    """Text escaped for one line, or one cell of a table, in Markdown."""
    return _SPECIAL.sub(lambda match: "\\" + match[0], visible(_SPACE.sub(" ", text)))


def percent(estimate: Estimate) -> Markup:
    """An accuracy with its interval, e.g. ``97.3 [94.3, 98.8]``."""
    low, high = estimate.low * 100, estimate.high * 100
    return Markup(f"{estimate.value * 100:.1f} [{low:.1f}, {high:.1f}]")


def decimal(estimate: Estimate) -> Markup:
    """An AUC with its interval, e.g. ``0.412 [0.388, 0.437]``."""
    return Markup(f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]")


def entry_number(entry: Entry | AtHeadline | None) -> Markup:
    """AUC or accuracy; struck through if the verdict is invalid, and a dash if there is none."""
    if entry is None:
        return Markup("—")
    text = decimal(entry.auc) if isinstance(entry, Entry) else percent(entry.accuracy)
    return with_verdict(text, entry.verdict)


def with_verdict(text: Markup, verdict: Verdict) -> Markup:
    """A number with its interval; struck through if it is invalid, marked if it is not valid."""
    if verdict == "invalid":
        return Markup(f"<s>{text.partition(' ')[0]}</s>")
    return text + ("" if verdict == "valid" else " ?")


def _finalize_markdown(value: object) -> object:
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return escape_markdown(value)


def _finalize_html(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _document(template: str, report: Report, figures: str, checks: str) -> str:
    html = template.endswith(".html.j2")
    finalize = _finalize_html if html else _finalize_markdown
    environment = Environment(
        loader=PackageLoader("robench.reporting"),
        autoescape=html,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals |= {
        "areas_name": areas_name,
        "curves_name": curves_name,
        "decimal": decimal,
        "entry_number": entry_number,
        "expected": _expected,
        "footnotes": footnotes,
        "has_work": has_work,
        "other_runs": _other_runs,
        "percent": percent,
        "protocol_lines": _protocol_lines,
        "row_words": row_words,
        "with_verdict": with_verdict,
        "work_columns": COLUMNS,
        "work_texts": work_texts,
    }
    return environment.get_template(template).render(
        tables=report.tables,
        lacks_longer=any(row.not_needed for table in report.tables for row in table.rows),
        others=report.others,
        figures=Markup(quote(figures)),
        checks=Markup(quote(checks)),
    )


def _expected(row: Row) -> str:
    return "caught, as expected" if row.caught else "NOT caught: the checks have failed"


def _other_runs(table: Table) -> str:
    """How the runs of a table differ from the protocol, or from newer ones, as sentences."""
    begin = "Newer runs take the place of these. " if table.older else ""
    differs = f"What differs from the protocol: {'; '.join(table.differs)}."
    return f"{begin}These runs are comparable with each other only. {differs}"


def _protocol_lines(table: Table) -> list[tuple[str, str]]:
    """The protocol as pairs of a name and a text."""
    protocol, first = table.dataset.protocol, next(iter(table.settings.values()))
    images = (
        f"{table.samples} images" if table.differs else f"the first {table.samples} test images"
    )
    seeds = (first.seed,) if table.differs else protocol.seeds
    least = "at least " * (table.reverified < 1)
    cells = "each cell, without the controls" if table.controls else "each cell"
    lines = [
        ("Data", f"{images}, SHA-256 {table.data_sha256[:16]}"),
        ("Norm", f"{NORMS[table.norm]}, {protocol.measured}"),
        ("ε", ", ".join(epsilon.text for epsilon in table.grid)),
        ("Headline ε", table.headline.text),
        ("AUC", f"up to ε = {table.limit}, divided by it"),
        ("Seeds", ", ".join(map(str, seeds))),
        *([] if table.differs else [("T", "that of the model's card")]),
        (
            "Confirmed",
            f"{least}{table.reverified:.1%} of the adversarial examples of {cells}",
        ),
        *([("Spikes, SynOps and energy", work_line(table))] if has_work(table) else []),
        ("robench protocol", str(first.protocol)),
    ]
    alone = {f"{name} at ε = {table.headline}": of for name, of in table.at_headline.items()}
    for attack, identity in {**table.settings, **alone}.items():
        parameters = ", ".join(
            f"{name} = {_plain(value)}{_NOTES.get((identity.implementation, name), '')}"
            for name, value in sorted(identity.parameters.items())
        )
        parts = [f"version {identity.attack_version}", *([parameters] if parameters else [])]
        lines.append((attack, ", ".join(parts)))
    commands = [table_command(first, table.attacks, table.grid, table.checked)]
    if table.at_headline:
        alone_there = tuple(table.at_headline), (table.headline,)
        commands.append(table_command(first, *alone_there, table.checked))
    return [*lines, ("Again", ", ".join(commands))] if commands[0] else lines


def _plain(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " + ".join(_plain(item) for item in value) or "none"
    return value if isinstance(value, str) else json.dumps(value)
