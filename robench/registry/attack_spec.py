"""Attack specifications such as ``surrogate-ensemble[surrogates=[atan(2),triangle(1)]]``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from robench.errors import UsageError
from robench.text import one_line

_PAIRS = {"[": "]", "(": ")", "{": "}"}
EXAMPLE = "surrogate-ensemble[steps=40,surrogates=[atan(2),triangle(1)]]"
LONGEST = 200
"""Most bytes of an attack's name, which is also the name of a folder in the store."""
MOST_SIGNS = 2 * LONGEST
"""Most characters of a specification, with its spaces and quotes."""


def split_names(text: str) -> list[str]:
    """Split ``a,b[x=1,y=[2,3]],c`` at the commas outside brackets."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign in _PAIRS) - (sign in _PAIRS.values())
        if sign == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts if part.strip()]


def read_request(request: str) -> tuple[str, dict[str, Any]]:
    """Read an attack specification into a name and parameters.

    A value is read as JSON if it is JSON, as a list if it is in square brackets, and as text
    otherwise. Items of a list are read in the same way.

    Raises:
        UsageError: the brackets do not match, a parameter is not of the form ``name=value``, or
            the text is too long.
    """
    if len(request) > MOST_SIGNS:
        raise UsageError(
            f"attack {request[:40]}…: {len(request)} characters are too many, a folder is named "
            f"after it, with at most {LONGEST} bytes; write a card with these parameters instead"
        )
    if one_line(request) != " ".join(request.split()):
        raise UsageError(f"attack {request!r} has characters that cannot be printed")
    name, bracket, inside = request.partition("[")
    name = name.strip()
    if not _balanced(request) or not name or (bracket and not inside.endswith("]")):
        raise UsageError(
            f"cannot read the attack {request!r}: its brackets do not match; write it like "
            f"pgd[steps=100] or {EXAMPLE}"
        )
    changes: dict[str, Any] = {}
    for part in split_names(inside.removesuffix("]")):
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not key:
            raise UsageError(
                f"attack {request}: write parameters as name=value and lists as name=[a,b], "
                f"not {part!r}"
            )
        if key in changes:
            raise UsageError(f"attack {request}: parameter {key} is given twice")
        changes[key] = _value(value)
    return name, changes


def label(name: str, changes: Mapping[str, Any]) -> str:
    """The name in results, which :func:`read_request` reads back unchanged.

    Raises:
        UsageError: it is too long to name a folder.
    """
    inside = ",".join(f"{key}={_written(value)}" for key, value in sorted(changes.items()))
    text = f"{name}[{inside}]" if inside else name
    if len(text.encode()) > LONGEST:
        raise UsageError(
            f"attack {text}: a folder is named after it, so it may have at most {LONGEST} bytes; "
            "write a card with these parameters instead"
        )
    return text


def _balanced(text: str) -> bool:
    expected: list[str] = []
    for sign in text:
        if sign in _PAIRS:
            expected.append(_PAIRS[sign])
        elif sign in _PAIRS.values() and (not expected or expected.pop() != sign):
            return False
    return not expected


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    if text.startswith("[") and text.endswith("]"):
        return [_value(item) for item in split_names(text[1:-1])]
    return text


def _written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(_written(item) for item in value)}]"
    if isinstance(value, str) and _value(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
