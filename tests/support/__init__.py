"""What several tests share: real servers, repositories, and children that are killed."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
