"""A model, an attack or a result as lines of a terminal: what ``robench show`` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from robench.epsilon import NORMS
from robench.reporting.between import verdict_of
from robench.reporting.terminal.bars import curve_lines
from robench.reporting.terminal.lines import WIDTH, heading, reason_lines, result_line
from robench.results import CellResult, Check
from robench.results.again import cell_command
from robench.text import one_line

if TYPE_CHECKING:
    from robench.registry import ModelEntry, NamedAttack

_GRADIENTS = {
    "own": "the gradient that the model itself gives",
    "chosen": "gradients of its own choice",
    "source": "gradients of source models",
    "none": "no gradient",
}


def model_lines(entry: ModelEntry, state: str) -> Iterator[str]:
    """A model: its card, or what is known of a network without one.

    Args:
        entry: of the model.
        state: ``ready``, or why it cannot run.
    """
    yield str(entry.id)
    if (card := entry.card) is None:
        yield from _pairs({"from": entry.source, "state": state})
        return
    about, config = card.about, card.model.model_dump(exclude_none=True)
    first = ("architecture", "mode", "timesteps")
    kept = ("dataset", *first)
    trained = [
        *([f"{about.epochs} epochs"] if about.epochs else []),
        *([f"of {about.data}"] if about.data else []),
        *([f"from {about.init}"] if about.init else []),
        f"seed {about.seed}",
        *([f"{about.hours:.1f} h on {about.hardware}"] if about.hours >= 0.05 else []),
    ]
    yield from _pairs(
        {
            "about": about.description,
            **{name: config[name] for name in first if name in config},
            "clean": f"{about.clean_accuracy:.1%} of {about.clean_samples} test images",
            "trained": ", ".join(trained),
            "weights": f"SHA-256 {card.weights.sha256}",
            "state": state,
            "settings": ", ".join(f"{k} = {v}" for k, v in config.items() if k not in kept),
        }
    )


def attack_lines(named: NamedAttack) -> Iterator[str]:
    """An attack with its parameters: their values, and what they mean."""
    attack = named.attack
    yield named.name
    yield from _pairs(
        {
            "about": named.description,
            "published": named.citation,
            "norm": NORMS.get(attack.norm, attack.norm),
            "follows": _GRADIENTS[attack.gradients],
            "needs": ", ".join(sorted(attack.required)),
            "implementation": f"{named.implementation}, version {named.version}",
        }
    )
    meanings = parameter_meanings(type(attack))
    values = {name: _value(getattr(attack, name)) for name in type(attack).model_fields}
    if not values:
        return
    yield ""
    yield f"parameters, as in {named.name.partition('[')[0]}[{next(iter(values))}=…]"
    texts = {name: f"{name} = {value}" for name, value in values.items()}
    wide = max((len(text) for text in texts.values() if len(text) <= 32), default=0)
    for name, text in texts.items():
        begin = f"  {text:{wide}}  "
        if len(text) > wide:  # its meaning goes below
            yield from wrap(
                text.replace(",", ", "), WIDTH, initial_indent="  ", subsequent_indent="    ",
                break_on_hyphens=False,
            )  # fmt: skip
            begin = " " * (wide + 4)
        yield from wrap(
            meanings.get(name, ""), WIDTH, initial_indent=begin,
            subsequent_indent=" " * (wide + 4), break_on_hyphens=False,
        ) or [begin.rstrip()]  # fmt: skip


def parameter_meanings(kind: type[BaseModel]) -> dict[str, str]:
    """What the parameters of an attack mean, from the docstrings of its classes."""
    from robench.attacks import Attack

    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if issubclass(base, BaseModel) and base.__doc__:
            found |= _attributes(base.__doc__)
    for name, field in kind.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, Attack):  # a member of an ensemble
            found.setdefault(name, f"the parameters of {part.name}")
    return {name: found[name] for name in kind.model_fields if name in found}


def _attributes(doc: str) -> dict[str, str]:
    """The attributes of a docstring in Google's style."""
    section = re.search(r"^Attributes:\n((?:[ \t]+.*\n?|\n)+)", cleandoc(doc), re.MULTILINE)
    if section is None:
        return {}
    found = re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", section[1], re.MULTILINE)
    return {name: re.sub(r"``([^`]*)``", r"\1", " ".join(text.split())) for name, text in found}


def result_lines(
    result: CellResult, checks: Sequence[Check] = (), *, plain: bool = False
) -> Iterator[str]:
    """A result: its number, its curve, and its checks with advice.

    Args:
        result: of the cell.
        checks: those that compare it with other cells of the store.
        plain: whether the curve is drawn in ASCII.
    """
    yield from heading(result)
    run = result.run
    yield result_line(result, checks, f"{run.seconds:.1f} s")
    if (outcome := result.outcome) is None:
        return
    yield from reason_lines(outcome, checks)
    yield ""
    yield from curve_lines(outcome.curve, WIDTH, plain=plain)
    yield ""
    areas = ", ".join(
        f"{area:.3f} [{within.low:.3f}, {within.high:.3f}] up to {limit}"
        for limit, area in outcome.areas.items()
        for within in (outcome.auc_interval[limit],)
    )
    passes = f"{outcome.forwards:.1f} forward and {outcome.backwards:.1f} gradient passes an image"
    identity = outcome.identity
    yield from _pairs(
        {
            **({"AUC": areas} if areas else {}),
            "passes": passes,
            "attack": ", ".join(
                [
                    f"{identity.implementation} {identity.attack_version}",
                    *(f"{k} = {_value(v)}" for k, v in identity.parameters.items()),
                ]
            ),
            "seed": identity.seed,
            "run": f"{run.created} on {run.device}, {run.threads} threads",
            "hash": result.hash,
            "again": cell_command(result),
        }
    )
    yield ""
    verdict, _ = verdict_of(outcome, checks)
    made = (*outcome.checks, *checks)
    yield f"{verdict}: {len(made)} checks" if made else verdict
    wide = max((len(check.name) for check in made), default=0)
    for check in made:
        value = f"{check.value:10.3g} of at most {check.threshold:<8.3g}"
        yield f"  {one_line(check.name):{wide}} {value} {check.verdict:9} {check.reason}".rstrip()


def _pairs(pairs: Mapping[str, object]) -> Iterator[str]:
    """Names and texts in two columns; empty texts are left out."""
    shown = {name: one_line(text) for name, text in pairs.items() if text not in ("", None)}
    wide = max(map(len, shown))
    for name, text in shown.items():
        yield from wrap(
            text, WIDTH, initial_indent=f"  {name:{wide}}  ", subsequent_indent=" " * (wide + 4),
            break_on_hyphens=False, break_long_words=False,
        )  # fmt: skip


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "[" + ",".join(f"{k}={_value(v)}" for k, v in dict(value).items()) + "]"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_value, value)) + "]"
    return str(value)
