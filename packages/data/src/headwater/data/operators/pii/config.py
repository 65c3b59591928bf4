"""Options of `pii`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from headwater.core.config import NotValid, Ratio, nearest
from headwater.data.models import names
from headwater.data.models.model_file import FileOptions, FilePath
from headwater.data.operators.pii.spans import KINDS, Kind

PLACEHOLDERS: dict[Kind, str] = {"secret": "<SECRET>", "iban": "<IBAN>", "card": "<CARD>", "email": "<EMAIL>",
                                 "ip": "<IP_ADDRESS>", "phone": "<PHONE>", "name": "<NAME>"}  # fmt: skip


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


class PiiConfig(FileOptions):
    """Options of `pii`.

    Attributes:
        kinds: What is redacted; a kind that is not named stays. All but `name` by default.
        placeholders: What stands for each kind; those not named keep `<EMAIL>` and the like.
        phone_region: Region (ISO 3166) for numbers written without a country code and without a word before them
            that tells the language.
        min_entropy_bits: Least Shannon entropy, in bits a character, of a value that is assigned to a name such as
            `api_key` for it to count as a secret; 3 leaves words and simple patterns alone.
        name_model: Folder of the token classifier that finds the names of people; the kind `name` needs one.
        min_name_score: Least probability that a word is part of a name.
        max_recorded: Replacements whose places are noted for one document; all are counted.
    """

    FILES: ClassVar[tuple[str, ...]] = ("name_model",)
    FOLDERS: ClassVar[tuple[str, ...]] = ("name_model",)

    kinds: tuple[Kind, ...] = KINDS
    placeholders: dict[Kind, str] = Field(default={}, validate_default=False)
    phone_region: Region = "US"
    min_entropy_bits: float = Field(default=3.0, ge=0, le=8)
    name_model: FilePath | None = None
    min_name_score: Ratio = 0.5
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

    @model_validator(mode="after")
    def _names_by_a_model(self) -> PiiConfig:
        if ("name" in self.kinds) != (self.name_model is not None):
            raise ValueError("the kind name and name_model, the folder of a model that finds names, are given together")
        return self

    def check(self, name: str, path: Path) -> None:
        """The folder holds a token classifier with labels of names."""
        names.check(path)

    def placeholder_of(self) -> dict[str, str]:
        """Each kind's placeholder."""
        return {**PLACEHOLDERS, **self.placeholders}
