"""Names of people in a text, by a token classifier (`token_classifiers`).

Labels of names are told by what they are called: PER, PERSON, GIVEN_NAME and the like, alone or after B-, I-, E-, S-,
L-, U-. Text goes through the model in windows that overlap; of two windows, the one in which a token is farther from
the edge decides. The first token of a word decides for the word, as models are trained to; names are words in a row.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headwater.core.errors import ConfigError
from headwater.data.models import token_classifiers
from headwater.data.models.token_classifiers import F32, TokenClassifier

_PLACE = re.compile(r"^[BIESLU][-_]", re.IGNORECASE)
_BEGINS = re.compile(r"^[BSU][-_]", re.IGNORECASE)
_NAMES = frozenset({"PER", "PERS", "PERSON", "PRIVATEPERSON", "NAME", "FULLNAME", "NAMESTUDENT", "FIRSTNAME",
                    "MIDDLENAME", "LASTNAME", "GIVENNAME", "SURNAME", "FAMILYNAME"})  # fmt: skip
_WINDOW, _OVERLAP = 256, 64  # tokens: a name needs little context, and time grows with the window
_PART = 50_000  # characters that are made tokens at a time, so that memory does not grow with the text

# What may stand between two words of a name: Anne-Marie O'Neil, J. R. Smith, 约翰·史密斯.
_GAP = re.compile(r"[ \u00a0]|[ \u00a0]?[-‐'’·・][ \u00a0]?|(?<=\b\w)\.[ \u00a0]?|")
# Scripts without spaces: a run of letters is a sentence there, and each token counts as a word.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")


class Name(NamedTuple):
    """Characters start to stop of a text."""

    start: int
    stop: int


class Word(NamedTuple):
    """Characters start to stop of a text, and its first token."""

    start: int
    stop: int
    token: int


@dataclass(frozen=True)
class NameModel:
    """A token classifier, and which of its labels are names.

    Attributes:
        classifier: The model.
        named: Numbers of the labels of names.
        begins: For each of these labels, the kind of name that it begins; "" where it goes on.
    """

    classifier: TokenClassifier
    named: npt.NDArray[np.int64]
    begins: tuple[str, ...]

    def find(self, text: str, min_score: float) -> list[Name]:
        """The names in a text, in their order; the time is linear in the length of the text.

        Args:
            text: Any text.
            min_score: Least probability, 0 to 1, that a word is part of a name.
        """
        found: list[Name] = []
        kind = ""  # of the last name's last word
        for start, part in _parts(text):
            encoding = self.classifier.tokenizer.encode(part, add_special_tokens=False)
            scores = self._scores(encoding.ids)
            for word in words_of(part, encoding.offsets):
                score = scores[word.token]
                # In steps, so that another processor's last bits do not decide.
                if round(float(score.sum()), 3) < min_score:
                    continue
                begun = self.begins[int(score.argmax())]
                first, stop = start + word.start, start + word.stop
                if found and not (begun and begun == kind) and _GAP.fullmatch(text, found[-1].stop, first):
                    found[-1] = Name(found[-1].start, stop)
                else:
                    found.append(Name(first, stop))
                kind = _kind(self.classifier.labels[self.named[int(score.argmax())]])
        return found

    def _scores(self, ids: list[int]) -> F32:
        """The probability of each label of names at each token, shape [tokens, names]."""
        size = min(_WINDOW, self.classifier.max_tokens)
        overlap = min(_OVERLAP, size // 2)
        scores = np.zeros((len(ids), len(self.named)), dtype=np.float32)
        for start in range(0, max(len(ids) - overlap, 1), size - overlap):
            window = ids[start : start + size]
            skipped = overlap // 2 if start else 0
            if window:
                found = self.classifier.probabilities(window)[skipped:, self.named]
                scores[start + skipped : start + len(window)] = found
        return scores


@lru_cache(maxsize=2)
def load(folder: str) -> NameModel:
    """Loads the model of a folder.

    Raises:
        ConfigError: There is none, it cannot be loaded, or none of its labels are names.
    """
    check(Path(folder))
    classifier = token_classifiers.load(folder)
    named = [number for number, label in enumerate(classifier.labels) if is_name(label)]
    labels = [classifier.labels[number] for number in named]
    begins = tuple(_kind(label) if begins_name(label) else "" for label in labels)
    return NameModel(classifier, np.array(named), begins)


def check(folder: Path) -> None:
    """Refuses a folder that holds no model of names, without loading the weights.

    Raises:
        ConfigError: It holds none.
    """
    token_classifiers.weights_of(folder)
    labels = token_classifiers.labels_of(folder)
    if not any(map(is_name, labels)):
        raise ConfigError(f"the model {folder} does not look for names of people",
                          found=", ".join(labels[:20]) or "no labels",
                          expected="labels such as B-PER and I-PER, PERSON, GIVEN_NAME")  # fmt: skip


def is_name(label: str) -> bool:
    """Whether a label is that of a name of a person, or of a part of one."""
    return _kind(label) in _NAMES


def begins_name(label: str) -> bool:
    """Whether a label says that a name begins, and does not only go on."""
    return is_name(label) and bool(_BEGINS.match(label))


def _kind(label: str) -> str:
    """What a label names, without its place in it and without what joins its words: GIVENNAME of B-GIVEN_NAME."""
    return _PLACE.sub("", label).upper().replace("_", "").replace("-", "").replace(" ", "")


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The text in parts that end at the end of a line or a word, each with its place."""
    start = 0
    while start < len(text):
        stop = start + _PART
        if stop < len(text):
            stop = max(text.rfind("\n", start, stop), text.rfind(" ", start + _PART // 2, stop)) + 1 or stop
        yield start, text[start:stop]
        start = stop


def words_of(text: str, offsets: list[tuple[int, int]]) -> list[Word]:
    """The words of a text, of its tokens: letters in a row are one, punctuation is none."""
    words: list[Word] = []
    for token, (start, stop) in enumerate(offsets):
        while start < stop and not _in_word(text[start]):
            start += 1
        while start < stop and not _in_word(text[stop - 1]):
            stop -= 1
        while start < stop < len(text) and _is_mark(text[stop]):  # an accent that the tokenizer has taken off
            stop += 1
        if start == stop:
            continue
        last = words[-1] if words else None
        if last and start <= last.stop and not (_UNSPACED.match(text, start) or _UNSPACED.match(text, start - 1)):
            words[-1] = Word(last.start, max(stop, last.stop), last.token)
        else:
            words.append(Word(start, stop, token))
    return words


def _in_word(character: str) -> bool:
    return character.isalnum() or _is_mark(character)


def _is_mark(character: str) -> bool:
    return unicodedata.category(character)[0] == "M"
