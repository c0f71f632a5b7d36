"""YAML that people write for the home: plain values, without aliases, and nested a little."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_LEVELS: Final = 50
"""The scanner takes time with the square of this, and what people write has five."""


class YamlMistakeError(ValueError):
    """A text is not YAML that we read."""

    def __init__(self, problem: str, line: int = 0) -> None:
        super().__init__(problem)
        self.problem = problem
        """What is wrong, as the rest of a sentence that begins with the file's name."""
        self.line = line
        """Where, counted from 1; 0 if that is unknown."""

    def __str__(self) -> str:
        return f"{self.problem} (line {self.line})" if self.line else self.problem


def read_plain_yaml(content: bytes) -> object:
    """Return the value of the only document; ``None`` when there is none.

    Raises:
        YamlMistakeError: It is not UTF-8 or not YAML, repeats a part of itself, or is nested too
            deeply.
    """
    import yaml

    try:
        text = content.decode("utf-8-sig")
        # The loader in C is ten times faster. The other one names the lines of mistakes better.
        with suppress(yaml.YAMLError, AttributeError):
            return _value(text, yaml.CSafeLoader)
        return _value(text, yaml.SafeLoader)
    except UnicodeDecodeError as exc:
        raise YamlMistakeError("is not UTF-8") from exc
    except yaml.MarkedYAMLError as exc:
        line = 0 if exc.problem_mark is None else exc.problem_mark.line + 1
        words = [word for word in (exc.context, exc.problem) if word]
        raise YamlMistakeError(f"is not YAML: {', '.join(words)}", line) from exc
    except YamlMistakeError:
        raise
    except (yaml.YAMLError, ValueError) as exc:
        raise YamlMistakeError(f"is not YAML: {exc}") from exc


def _value(text: str, loader: Any) -> object:
    import yaml

    _refuse_expansion(yaml.parse(text, loader))
    return yaml.load(text, loader)  # noqa: S506 - both loaders are safe


def _refuse_expansion(events: Iterable[Any]) -> None:
    """Look through the events, one by one, so that nothing deep is ever read to its end."""
    from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent

    level = 0
    for event in events:
        line = event.start_mark.line + 1
        if isinstance(event, AliasEvent):
            raise YamlMistakeError("uses an anchor and an alias; write the text twice", line)
        if isinstance(event, CollectionStartEvent):
            level += 1
            if level > _MOST_LEVELS:
                raise YamlMistakeError(f"is nested deeper than {_MOST_LEVELS} levels", line)
        elif isinstance(event, CollectionEndEvent):
            level -= 1
