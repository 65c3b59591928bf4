"""The white space of extracted text: one kind of line end, nothing at the ends of lines, no stacks of empty lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headwater.data.operators.kernels.texts import PADDING, as_texts, strings


def cleaned(texts: Sequence[str], whole: Sequence[bool]) -> Any:
    """Texts with line feeds as line ends and none around them, as an Arrow array of strings.

    In those that are not `whole`, no-break spaces become spaces, spaces and tabs at the ends of lines go, and of empty
    lines in a row one stays. Source code is whole: there all other characters stay.
    """
    from headwater.data.operators.kernels.clean_lines import clean_lines

    data, offsets = as_texts(pa.array(texts, pa.string()))
    result, result_offsets = np.empty(len(data) + PADDING, np.uint8), np.empty(len(offsets), np.int64)
    clean_lines(data, offsets, np.array(whole, np.bool_), result, result_offsets)
    return strings(result, result_offsets)
