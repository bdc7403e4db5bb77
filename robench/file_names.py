"""Names of models, attacks and data sets as names of files."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

LONGEST = 100
"""Most characters of a file name: a whole path on Windows has at most 260."""
_LEGAL = "[]()=,+"
"""Legal on every system, beside letters, digits and ``_.-``."""
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|\Z)", re.IGNORECASE)
"""Devices of Windows, whatever follows the first dot."""


def file_name(name: str) -> str:
    """The name of a file or folder for a name, legal on Linux, macOS and Windows.

    A character that is illegal on one of them is percent-encoded, as in ``pgd[loss=a%2Fb]``. A
    digest follows a long name, and a name with capital letters, which some file systems do not
    distinguish from small ones, as in ``foolbox%3ALinfPGD~603d41f9``. No two names share a file
    name, even where upper and lower case are the same.
    """
    encoded = quote(name, safe=_LEGAL, errors="surrogatepass").replace("~", "%7E")
    if encoded.endswith("."):
        encoded = f"{encoded[:-1]}%2E"
    if _RESERVED.match(encoded):
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if encoded and len(encoded) <= LONGEST and name == name.lower():
        return encoded
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{encoded[: LONGEST - 9]}~{digest}"
