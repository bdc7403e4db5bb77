"""The experiments of this repository, which are no part of the package: ``python -m studies``."""
