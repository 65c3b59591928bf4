"""Options of `pii`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, field_validator

from headwater.core.config import NotValid, nearest
from headwater.data.operators.base import OperatorConfig
from headwater.data.operators.pii.spans import KINDS, Kind

PLACEHOLDERS: dict[Kind, str] = {"secret": "<SECRET>", "iban": "<IBAN>", "card": "<CARD>", "email": "<EMAIL>",
                                 "ip": "<IP_ADDRESS>", "phone": "<PHONE>"}  # fmt: skip


def _region(value: str) -> str:
    from phonenumbers import SUPPORTED_REGIONS

    if value in SUPPORTED_REGIONS:
        return value
    near = nearest(value.upper(), sorted(SUPPORTED_REGIONS))
    raise NotValid(
        "a region that has phone numbers: ISO 3166-1 alpha-2, such as US, DE, JP",
        f"did you mean {near}?" if near else None,
    )


Region = Annotated[str, AfterValidator(_region)]


class PiiConfig(OperatorConfig):
    """Options of `pii`.

    Attributes:
        kinds: What is redacted; a kind that is not named stays.
        placeholders: What stands for each kind; those not named keep `<EMAIL>` and the like.
        phone_region: Region (ISO 3166) for numbers written without a country code and without a word before them
            that tells the language.
        min_entropy_bits: Least Shannon entropy, in bits a character, of a value that is assigned to a name such as
            `api_key` for it to count as a secret; 3 leaves words and simple patterns alone.
        max_recorded: Replacements whose places are noted for one document; all are counted.
    """

    kinds: tuple[Kind, ...] = KINDS
    placeholders: dict[Kind, str] = Field(default={}, validate_default=False)
    phone_region: Region = "US"
    min_entropy_bits: float = Field(default=3.0, ge=0, le=8)
    max_recorded: int = Field(default=256, ge=0, le=100_000)

    @field_validator("placeholders")
    @classmethod
    def _enclosed(cls, placeholders: dict[Kind, str]) -> dict[Kind, str]:
        for kind, placeholder in placeholders.items():
            if len(placeholder) < 3 or placeholder[0] + placeholder[-1] not in ("<>", "[]", "{}") or any(
                not (character.isalpha() or character in "_ -") for character in placeholder[1:-1]
            ):  # fmt: skip
                raise ValueError(
                    f"the placeholder of {kind} is a word in brackets, such as <EMAIL> or [EMAIL], so that it is never "
                    f"taken for what it stands for; given {placeholder!r}"
                )
        return placeholders

    def placeholder_of(self) -> dict[str, str]:
        """Each kind's placeholder."""
        return {**PLACEHOLDERS, **self.placeholders}
