"""Reading UTF-8: one character, eight bytes, the hash of a run of bytes. And writing eight bytes."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from headwater.data.operators.kernels.compiled import compiled

_SEED = np.uint64(0x9E3779B97F4A7C15)
_LENGTH = np.uint64(0xD6E8FEB86659FD93)
_STEP = np.uint64(0xFF51AFD7ED558CCD)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONES = np.uint64(0x0101010101010101)
_SPACES = np.uint64(0x2020202020202020)
_HIGH = np.uint64(0x8080808080808080)


def _load8(context: Any, array: Any, place: Any) -> Any:
    """The eight bytes array[place:place + 8] as one little-endian integer, on every machine."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        value = builder.load(pointer)
        value.align = 1
        return builder.bswap(value) if sys.byteorder == "big" else value

    return types.uint64(array, types.intp), generate  # bytes of Python are an array of a type of its own: read-only


load8: Any = intrinsic(_load8)


def _store8(context: Any, array: Any, place: Any, value: Any) -> Any:
    """Writes what `load8` reads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        pointer = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(64).as_pointer())
        value = builder.bswap(arguments[2]) if sys.byteorder == "big" else arguments[2]
        builder.store(value, pointer).align = 1
        return context.get_dummy_value()

    return types.none(types.Array(types.uint8, 1, "C"), types.intp, types.uint64), generate


store8: Any = intrinsic(_store8)


def _trailing_zeros(context: Any, value: Any) -> Any:
    """Zeros below the lowest bit that is set; 64 for 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), generate


trailing_zeros: Any = intrinsic(_trailing_zeros)


@compiled
def mix(value):
    """The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014), as `core.hashing.mix64`."""
    value ^= value >> np.uint64(30)
    value *= np.uint64(0xBF58476D1CE4E5B9)
    value ^= value >> np.uint64(27)
    value *= np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@compiled
def hash_bytes(data, start, stop):
    """A 64-bit hash of data[start:stop]; needs eight readable bytes after the end."""
    state = _SEED ^ (np.uint64(stop - start) * _LENGTH)
    while stop - start > 8:
        state = (state ^ load8(data, start)) * _STEP
        state ^= state >> np.uint64(32)
        start += 8
    if stop > start:
        state ^= load8(data, start) & (_ALL >> np.uint64(64 - 8 * (stop - start)))
    return mix(state * _STEP)


@compiled
def hash_lower(data, start, stop):
    """`hash_bytes` of ASCII bytes in lower case."""
    state = _SEED ^ (np.uint64(stop - start) * _LENGTH)
    while stop - start > 8:
        state = (state ^ lower8(load8(data, start))) * _STEP
        state ^= state >> np.uint64(32)
        start += 8
    last = load8(data, start) & (_ALL >> np.uint64(64 - 8 * (stop - start)))
    return mix((state ^ lower8(last)) * _STEP)


@compiled
def between8(eight, first, last):
    """The high bit of each of eight ASCII characters that lies between two characters."""
    return ((eight + np.uint64(0x80 - first) * _ONES) ^ (eight + np.uint64(0x7F - last) * _ONES)) & _HIGH


@compiled
def lower8(eight):
    """Eight ASCII characters in lower case."""
    return eight | (between8(eight, 0x41, 0x5A) >> np.uint64(2))


@compiled
def letters8(eight):
    """The high bit of each of eight ASCII characters that is a letter."""
    return between8(eight | _SPACES, 0x61, 0x7A)


@compiled
def word_length8(eight):
    """How many of eight bytes, from the first one, are ASCII letters, digits or underscores."""
    ascii_ = eight & ~_HIGH
    words = letters8(ascii_) | between8(ascii_, 0x30, 0x39) | between8(ascii_, 0x5F, 0x5F)
    return first_clear8(words & ~eight)


@compiled
def spaces8(eight):
    """The high bit of each of eight ASCII characters that is white space."""
    return between8(eight, 0x09, 0x0D) | between8(eight, 0x1C, 0x20)


@compiled
def equal8(eight, byte):
    """The high bit of the first of eight bytes that is this one; of those after it, it may be set wrongly."""
    other = eight ^ (np.uint64(byte) * _ONES)
    return (other - _ONES) & ~other & _HIGH


@compiled
def first_clear8(marks):
    """The place of the first of eight bytes whose high bit is not set; 8 if there is none."""
    clear = ~marks & _HIGH
    return np.int64(trailing_zeros(clear) >> np.uint64(3))


@compiled
def decode(data, place, stop):
    """The character at a place, and how many bytes it takes. A byte that begins none counts as one of its own."""
    first = np.int64(data[place])
    if first < 0xC0 or place + 1 >= stop:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (np.int64(data[place + 1]) & 0x3F), 2
    if place + 2 >= stop:
        return first, 1
    code = (np.int64(data[place + 1]) & 0x3F) << 6 | (np.int64(data[place + 2]) & 0x3F)
    if first < 0xF0:
        return (first & 0x0F) << 12 | code, 3
    if place + 3 >= stop:
        return first, 1
    code = (first & 0x07) << 18 | code << 6 | (np.int64(data[place + 3]) & 0x3F)
    return min(code, 0x10FFFF), 4


@compiled
def encode(code, data, place):
    """Writes one character; returns the place after it."""
    if code < 0x80:
        data[place] = code
        return place + 1
    if code < 0x800:
        data[place] = 0xC0 | code >> 6
        data[place + 1] = 0x80 | code & 0x3F
        return place + 2
    if code < 0x10000:
        data[place] = 0xE0 | code >> 12
        data[place + 1] = 0x80 | code >> 6 & 0x3F
        data[place + 2] = 0x80 | code & 0x3F
        return place + 3
    data[place] = 0xF0 | code >> 18
    data[place + 1] = 0x80 | code >> 12 & 0x3F
    data[place + 2] = 0x80 | code >> 6 & 0x3F
    data[place + 3] = 0x80 | code & 0x3F
    return place + 4
