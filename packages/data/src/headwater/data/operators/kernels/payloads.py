"""What is counted in the bytes of a payload before a parser sees it."""

from __future__ import annotations

import numpy as np

from headwater.data.operators.kernels.bytes8 import equal8, load8, trailing_zeros
from headwater.data.operators.kernels.compiled import compiled

_TAB, _SPACE, _ESCAPE, _LESS, _SLASH = 0x09, 0x20, 0x1B, 0x3C, 0x2F


@compiled
def control_characters(data):
    """Control characters other than white space (tab to carriage return), and how many of them are ESC."""
    controls, escapes = np.int32(0), np.int32(0)
    for place in range(len(data)):
        byte = data[place]
        # In unsigned arithmetic, all but the five kinds of white space are more than 4 away from the first.
        controls += np.int32((byte < np.uint8(_SPACE)) & (np.uint8(byte - np.uint8(_TAB)) > np.uint8(4)))
        escapes += np.int32(byte == np.uint8(_ESCAPE))
    return controls, escapes


@compiled
def tag_openings(data):
    """How often "<" occurs."""
    count = np.int32(0)
    for place in range(len(data)):
        count += np.int32(data[place] == np.uint8(_LESS))
    return count


@compiled
def tag_surplus(data, flat):
    """The greatest surplus of opening over closing tags.

    Args:
        data: The page. The last three bytes open no tag.
        flat: Of each two bytes that a tag's name may begin with, letters small: whether its elements never nest; shape
            [65536].
    """
    level, ground, greatest = 0, 0, 0
    place, last = 0, len(data) - 3
    while place < last:
        if place + 8 <= len(data):
            place += np.int64(trailing_zeros(equal8(load8(data, place), _LESS)) >> np.uint64(3))
            if place >= last or data[place] != _LESS:
                continue
        if data[place] == _LESS:
            closing = data[place + 1] == _SLASH
            name = place + 1 + closing
            if not flat[(np.int64(data[name]) | 0x20) << 8 | np.int64(data[name + 1]) | 0x20]:
                level += -1 if closing else 1
                # A closing tag of an element that is not open closes nothing: the lowest level so far is the ground.
                ground = min(ground, level)
                greatest = max(greatest, level - ground)
        place += 1
    return greatest
