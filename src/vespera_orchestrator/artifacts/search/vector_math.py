"""The few sums over vectors that a search in a new process needs, without loading numpy.

Loading numpy takes longer than all of a small search, and 16 MB. What works on thousands of
vectors at once, when texts are indexed, uses it.

A vector's *signs* are one bit for each of its numbers. Vectors that are near each other agree in
most of them, which is quick to count: a whole index is compared by its signs, and only the best of
it number by number. See "Similarity estimation techniques from rounding algorithms" (Charikar,
2002).
"""

from __future__ import annotations

import math
from array import array
from operator import mul
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SIGNED_BYTES: Final = "b"
_BITS_PER_BYTE: Final = 8


def from_bytes(stored: bytes) -> Sequence[int]:
    """Return the vector that was stored as signed bytes."""
    return array(_SIGNED_BYTES, stored)


def dot(one: Iterable[float], other: Iterable[float]) -> float:
    """Return the scalar product."""
    product: float = sum(map(mul, one, other))
    return product


def length(vector: Sequence[float]) -> float:
    """Return the Euclidean norm."""
    return math.sqrt(dot(vector, vector))


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors; 0 where one of them has no direction."""
    lengths = length(one) * length(other)
    return dot(one, other) / lengths if lengths > 0 else 0.0


def direction(vectors: Sequence[Sequence[float]]) -> Sequence[float]:
    """Return where *vectors* point together. Each counts alike, however long it is."""
    if len(vectors) == 1:
        return vectors[0]
    shares = [1 / (length(vector) or 1.0) for vector in vectors]
    return [dot(numbers, shares) for numbers in zip(*vectors, strict=True)]


def signs(vector: Sequence[float]) -> bytes:
    """Return which numbers of *vector* are above their mean, a bit for each.

    The mean is next to zero in most models. In one that only counts, nothing is below zero.
    """
    mean = math.fsum(vector) / len(vector)
    bits = "".join(["1" if number > mean else "0" for number in vector])
    size_bytes = -(-len(vector) // _BITS_PER_BYTE)
    whole_bytes = bits.ljust(size_bytes * _BITS_PER_BYTE, "0")
    return int(whole_bytes, 2).to_bytes(size_bytes, "big")


def all_signs(vectors: Any) -> list[bytes]:
    """Return the signs of each row of an array."""
    import numpy as np

    bits = vectors > vectors.mean(axis=1, keepdims=True)
    return [row.tobytes() for row in np.packbits(bits, axis=1)]
