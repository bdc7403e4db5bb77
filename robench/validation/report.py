"""A validation of everything that is stored: results, models, attack cards and pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path

from robench.atomic import TEMPORARY
from robench.registry import attack_files, is_published, model_entries, published
from robench.reporting import Report, beside, build_report
from robench.results import AnalysisStore, ResultStore
from robench.results.files import EXAMPLES
from robench.validation.analyses import check_analysis
from robench.validation.examples import clean_images
from robench.validation.findings import Finding, attempt
from robench.validation.models import check_attack, check_model, checkpoints
from robench.validation.pages import check_page
from robench.validation.results import check_result


@dataclass(frozen=True)
class Validation:
    """What was looked at, as numbers of files by their kind, and what was found."""

    counts: dict[str, int]
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """The number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """The number of findings that are none."""
        return len(self.findings) - self.errors


def validate(store: ResultStore, models_dir: Path | None, pages: Sequence[Path]) -> Validation:
    """Look at everything that is stored, without a computation of a network.

    Args:
        store: the results.
        models_dir: where checkpoints are looked for first.
        pages: of the leaderboard that were made from the store.

    Raises:
        UsageError: the models folder does not exist.
    """
    results = list(store.paths())
    analyses, analysed = sorted(store.root.glob("*/*/analyses/*/*.json")), AnalysisStore(store.root)
    entries, clean = model_entries(models_dir), cache(clean_images)
    models, attacks = checkpoints(models_dir), attack_files()
    findings = [
        *chain.from_iterable(check_result(store, path, entries, clean) for path in results),
        *chain.from_iterable(check_analysis(analysed, path, entries) for path in analyses),
        *_leftovers(store, models),
        *chain.from_iterable(check_model(name, models[name]) for name in sorted(models)),
        *chain.from_iterable(check_attack(name, attacks[name]) for name in sorted(attacks)),
        *_check_pages(store, pages),
    ]
    counts = {
        "results": len(results),
        "files of examples": len(list(store.root.glob(f"*/*/*/*{EXAMPLES}"))),
        "analyses": len(analyses),
        "models": len(models),
        "attack cards": len(attacks),
        "pages": len(pages),
    }
    return Validation(counts, tuple(findings))


def _check_pages(store: ResultStore, pages: Sequence[Path]) -> Iterator[Finding]:
    others = None if is_published(store.root) else published()

    @cache
    def report(all_runs: bool, with_published: bool) -> Report:
        beside_it = ResultStore(others) if with_published and others is not None else None
        return beside(build_report(store, all_runs=all_runs, published=beside_it))

    for page in pages:
        found = attempt("page-stale", page, lambda: report(False, False))
        if isinstance(found, Finding):
            yield found
        else:
            yield from check_page(page, report, store.root)


def _leftovers(store: ResultStore, models: dict[str, Path]) -> Iterator[Finding]:
    """What an interrupted or killed run has left in the store, or beside a model."""
    for path in sorted(store.root.glob("*/*/*/*.chunks")):
        done = path.with_suffix(".json").exists()
        text = "its result is stored" if done else "the result of its cell is missing"
        yield Finding("leftover-chunks", path, text)
    files = {f"*/*/*/*{ending}": "result" for ending in (".parquet", EXAMPLES)}
    for pattern, record in (files | {"*/*/analyses/*/*.safetensors": "analysis"}).items():
        for path in sorted(store.root.glob(pattern)):
            if not path.with_name(f"{path.name.partition('.')[0]}.json").exists():
                yield Finding("leftover-rows", path, f"the {record} that it belongs to is missing")
    for path in store.unused():
        yield Finding("leftover-rows", path, "another run has stored this cell")
    places = chain(store.root.rglob(TEMPORARY), *(f.glob(TEMPORARY) for f in models.values()))
    for path in sorted(places):
        yield Finding("leftover-temporary", path, "a run was ended while it wrote this file")
