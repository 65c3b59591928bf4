"""Kubernetes quantities: `8`, `500m`, `64Gi` (apimachinery, `resource.Quantity`)."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from headwater.core.config import NotValid

_SUFFIXES = {
    "": Decimal(1), "m": Decimal("0.001"), "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30, "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50,
}  # fmt: skip
_WRITTEN = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)(|m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)")
_TRANSPOSED = {"GB": "G or Gi", "MB": "M or Mi", "TB": "T or Ti", "KB": "k or Ki", "g": "G or Gi", "gb": "G or Gi",
               "K": "k or Ki", "GiB": "Gi", "MiB": "Mi"}  # fmt: skip


def value_of(quantity: str) -> Decimal:
    """A quantity as a number: bytes of memory, cores of CPU.

    Raises:
        NotValid: It is none.
    """
    match = _WRITTEN.fullmatch(quantity)
    if match is None:
        suffix = re.sub(r"^[\d.]+", "", quantity)
        hint = f"write {_TRANSPOSED[suffix]} for {suffix}" if suffix in _TRANSPOSED else None
        raise NotValid("a Kubernetes quantity, for example 8, 500m, 64Gi, 1.5T", hint)
    return Decimal(match.group(1)) * _SUFFIXES[match.group(2)]


def gib(size: float | Decimal) -> str:
    """Bytes as text for people, in GiB."""
    return f"{float(size) / 2**30:,.1f} GiB"


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _positive(quantity: str) -> str:
    if value_of(quantity) <= 0:
        raise NotValid(f"a quantity above 0, not {quantity!r}")
    return quantity


def _in_bytes(quantity: str) -> str:
    if quantity.endswith("m"):
        raise NotValid(f"bytes, and {quantity!r} is thousandths of one", f"write {quantity[:-1]}Mi for mebibytes")
    return quantity


Quantity = Annotated[str, BeforeValidator(_as_text), AfterValidator(_positive)]
"""A quantity above 0, of CPU or anything else that is counted; a number in YAML is taken as text."""

Memory = Annotated[Quantity, AfterValidator(_in_bytes)]
"""A quantity of bytes."""
