"""Code, messages and documents use the words of the field, and none of those they replace."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.checkpoints import ROOT

REPLACED = {
    "adversarial example": r"witness\w*|a break|breaks|breaking|(?:un)?broken?(?! librar)",
    "minimal position, minimal ε": r"break[\s_-](?:position|epsilon)s?",
    "robust": r"held(?![-\s]out)",
    "ANN counterpart": r"twins?",
    "estimator": r"members?",
    "query counter, passes": r"ledgers?",
    "evaluation draws": r"judg\w+",
    "zero gradient": r"dead(?! (?:neurons?|or silent))|(?<!colour-)blind\w*",
    "gradient rescaling": r"rescu\w+",
    "registry, models": r"zoos?",
    "cba": r"""[`"'(\[]act[`"')\]]""",
    "plain English": r"tells|told|telling|anew|at hand|by (?:itself|themselves)|lets? go of"
    r"|is no number any more",
}
"""Each word with a pattern of those that it replaces."""
SPACE = r"[ #]*\s[ #]*"
"""A space or a line break, in a comment too."""
PATTERNS = {
    word: re.compile(f"(?<![a-z])(?:{old.replace(' ', SPACE)})(?![a-z])", re.IGNORECASE)
    for word, old in REPLACED.items()
}
FOLDERS = ("attacks", "docs", "models", "performance", "robench", "studies", "tests")
FILES = sorted(
    path
    for path in [*ROOT.iterdir(), *(path for name in FOLDERS for path in (ROOT / name).rglob("*"))]
    if (path.suffix in (".md", ".py", ".toml", ".j2", ".c", ".cff") or path.name == "Makefile")
    and path != Path(__file__)
)


def about_an_ensemble(path: Path, text: str, match: re.Match[str]) -> bool:
    """Whether an ensemble of attacks is named in the file's name or within a line of a match."""
    before, after = text[: match.start()].split("\n"), text[match.end() :].split("\n")
    lines = (path.name, *before[-2:], match[0], *after[:2])
    return "ensemble" in "\n".join(lines).lower()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_words_are_those_of_the_field(path: Path) -> None:
    text = re.sub("(?<=[a-z])(?=[A-Z])", " ", path.read_text("utf-8"))  # CamelCase too
    found = [
        f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: "
        f"{match[0]!r}: write {word}"
        for word, pattern in PATTERNS.items()
        for match in pattern.finditer(text)
        if not (word == "estimator" and about_an_ensemble(path, text, match))
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a witness", "adversarial example"),
        ("_breaks each sample_", "adversarial example"),
        ("what is at\n    # hand", "plain English"),
        ("path ``act``", "cba"),
        ("x.held", "robust"),
    ],
)
def test_a_replaced_word_is_found(text: str, word: str) -> None:
    assert PATTERNS[word].search(text)


@pytest.mark.parametrize(
    "text", ["held-out images", "dead neurons", "an act", "breakfast", "upheld"]
)
def test_other_words_are_not(text: str) -> None:
    assert not [word for word, pattern in PATTERNS.items() if pattern.search(text)]
