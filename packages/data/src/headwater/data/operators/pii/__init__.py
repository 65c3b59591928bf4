"""Redaction of personal data and secrets.

A compiled pass over the bytes marks where something may be (`kernels.pii_anchors`); one recogniser a kind looks there
and decides (`email`, `ip`, `phone`, `card`, `iban`, `secret`); overlapping spans become one, a placeholder takes its
place, and the verdict records where (`spans`). Everything takes time linear in the text's length. Placeholders are
never found again, so redacting twice changes nothing.
"""

from headwater.data.operators.pii.config import PLACEHOLDERS, PiiConfig
from headwater.data.operators.pii.operator import Pii, redact
from headwater.data.operators.pii.spans import KINDS, Replacement, original_place, read_detail

__all__ = ["KINDS", "PLACEHOLDERS", "Pii", "PiiConfig", "Replacement", "original_place", "read_detail", "redact"]
