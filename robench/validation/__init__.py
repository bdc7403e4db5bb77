"""The validation of what is stored: nothing is computed, and nothing is changed."""

from robench.validation.findings import RULES, Finding, Rule
from robench.validation.pages import pages_beside
from robench.validation.report import Validation, validate

__all__ = ["RULES", "Finding", "Rule", "Validation", "pages_beside", "validate"]
