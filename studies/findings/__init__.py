"""The claims about FLEX, and what the published results say of them."""

from studies.findings.figure import draw_findings
from studies.findings.measured import find_claims
from studies.findings.page import findings_page
from studies.findings.readme import with_results
from studies.findings.stores import Stores, need_longer

__all__ = ["Stores", "draw_findings", "find_claims", "findings_page", "need_longer", "with_results"]
