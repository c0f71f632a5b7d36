"""Who should do a task when nobody is named. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vespera_orchestrator._model import JsonValue, Task

GENERIC: Final = "generic"
_WORDS: Final = {
    "analyst": "analysis analyse analyze analyst requirements specification",
    "architect": "architecture architect design interface refactoring refactor migration",
    "coder": "implementation implement code coding coder feature development programming build",
    "debugger": "bug bugfix fix defect debugging debug debugger hotfix recovery incident",
    "tester": "test tests testing tester qa verification validation",
    "reviewer": "review reviewer audit proofreading",
    "documenter": "documentation document docs doc documenter guide tutorial writing changelog",
    "researcher": "research researcher investigation experiment spike literature survey",
    "devops": "devops deployment deploy release ci infrastructure operations packaging",
    "coordinator": "coordination coordinate coordinator planning plan synthesis management",
}
_BY_TYPE: Final = {word: role for role, words in _WORDS.items() for word in words.split()}
_HEAVY: Final = frozenset(
    [
        "complex",
        "heavy",
        "high",
        "hard",
        "difficult",
        "large",
        "big",
        "epic",
        "very_complex",
        "very_high",
        "critical",
        "xl",
        "l",
    ]
)
_HEAVY_GENERIC: Final = "architect"
"""Somebody who first decides the structure: for heavy work of no particular type."""


def specialist_for(task_type: str, complexity: str) -> str:
    """Return the role that suits a task of this type and complexity.

    The type decides if one of its words is known; of several the last (a code review is a review).
    Heavy work of any other type goes to the
    architect, who decides first how to take it apart; everything else is generic.
    """
    for word in reversed(_words(task_type)):
        if word in _BY_TYPE:
            return _BY_TYPE[word]
    return _HEAVY_GENERIC if is_heavy_word(complexity) else GENERIC


def is_heavy_word(complexity: str) -> bool:
    """Tell whether a word for the complexity of a task says that it is heavy."""
    return "_".join(_words(complexity)) in _HEAVY


def following(task: Task, changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return *changes*, with the specialist that follows from them if nobody ever named one."""
    derived = specialist_for(task.task_type, task.complexity)
    is_named = task.specialist_type not in {None, derived}
    if is_named or "specialist_type" in changes:
        return dict(changes)
    task_type = str(changes.get("task_type", task.task_type))
    complexity = str(changes.get("complexity", task.complexity))
    new = specialist_for(task_type, complexity)
    if new == derived:
        return dict(changes)
    return {**changes, "specialist_type": new}


def of_recovery(task: Task) -> str:
    """Return who recovers a task: its own specialist if one was named, else the debugger."""
    derived = specialist_for(task.task_type, task.complexity)
    if task.specialist_type in {None, derived}:
        return "debugger"
    return str(task.specialist_type)


def _words(text: str) -> list[str]:
    return text.lower().replace("-", " ").replace("_", " ").split()
