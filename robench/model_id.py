"""The id of a model, ``<dataset>/<name>``."""

from __future__ import annotations

import re
from typing import Self

from robench.errors import UsageError

_ID = re.compile(r"(?!.*\.\.)(?!\./)[\w+.-]+/(?!\.\Z)[\w+.-]+\Z")


class ModelId(str):
    """A model id. It is a ``str``, so it can be stored, compared and printed as one."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Read an id.

        Raises:
            UsageError: the text is not of the form ``<dataset>/<name>``.
        """
        if not isinstance(text, str) or not _ID.match(text):
            raise UsageError(
                f"model id {text!r}: write it like digits/my-net, in letters, digits and . _ + -"
            )
        return cls(text)

    @property
    def dataset(self) -> str:
        """The data set, the part before the slash."""
        return self.partition("/")[0]

    @property
    def name(self) -> str:
        """The part behind the slash; the whole text without a slash."""
        return self.partition("/")[2] or str(self)


def dashed(name: str) -> str:
    """The name of a class as part of an id: ``MyNet`` is ``my-net``, and ``VGG16`` ``vgg16``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower().strip("_")
