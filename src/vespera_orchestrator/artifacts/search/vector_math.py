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
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FLOATS: Final = "f"
_BITS_PER_BYTE: Final = 8


def from_bytes(stored: bytes) -> Sequence[float]:
    """Return the vector that was stored as numbers of four bytes."""
    return array(_FLOATS, stored)


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


def total(vectors: Iterable[Sequence[float]]) -> list[float]:
    """Return the sum of *vectors*."""
    return [math.fsum(numbers) for numbers in zip(*vectors, strict=True)]


def signs(vector: Sequence[float]) -> bytes:
    """Return which numbers of *vector* are above their mean, a bit for each.

    The mean is next to zero in most models. In one that only counts, nothing is below zero.
    """
    mean = math.fsum(vector) / len(vector)
    bits = "".join(["1" if number > mean else "0" for number in vector])
    size_bytes = -(-len(vector) // _BITS_PER_BYTE)
    return int(bits, 2).to_bytes(size_bytes, "big")
