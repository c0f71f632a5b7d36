"""The only door to jinja2."""

from __future__ import annotations

import traceback
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from vespera_orchestrator._secrets import mask
from vespera_orchestrator.documents.markdown import without_double_blank_lines
from vespera_orchestrator.documents.place import file_stamp
from vespera_orchestrator.documents.project_types import template_name
from vespera_orchestrator.documents.sections import MarkerError, parse_sections
from vespera_orchestrator.errors import TemplateError
from vespera_orchestrator.home.files import stays_inside
from vespera_orchestrator.home.links import refuse_links
from vespera_orchestrator.home.reading import read_small_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jinja2.sandbox import SandboxedEnvironment

_PACKAGED = Path(__file__).parent / "templates"
"""The templates that come with the library."""
_MOST_LINES = 100
"""How many lines a secret may have that says where it begins, as keys do."""
_FEW_LINES = 20
"""How many lines any other secret may have."""
_LONG_BEGINS = "-----BEGIN"
_SHARED_PARTS = "_parts.md.j2"
_LoadedTemplate: TypeAlias = "tuple[str, str, Callable[[], bool]]"


def template_files(documents: tuple[str, ...], overrides: Path | None) -> list[Path]:
    """Return every file that may decide how *documents* look.

    These are the packaged templates, and whatever lies in *overrides*.
    """
    files = []
    if overrides is not None and overrides.is_dir():
        files = sorted(overrides.iterdir())
    names = [_SHARED_PARTS, *map(template_name, documents)]
    return files + [_PACKAGED / name for name in names]


class Renderer:
    """Renders documents from the packaged templates, or those of the same name in *overrides*.

    Templates run in jinja2's sandbox, an undefined name is an error, and nothing is escaped: the
    material already is.
    """

    def __init__(self, overrides: Path | None) -> None:
        if overrides is not None:
            refuse_links(overrides)
        self._overrides = overrides
        self._environment = _environment(overrides)
        self._latest: dict[str, tuple[dict[str, object], str]] = {}
        """Of each document what its template was given, and the text that it made."""
        self._without_secrets: dict[str, str] = {}
        """The last text of each template in which no secret was found."""
        self._used_names: dict[str, set[str]] = {}
        """The variables that each template names; none where it includes others."""

    def render(self, document: str, variables: Mapping[str, object]) -> str:
        """Return the text of *document*, sections and all.

        Raises:
            TemplateError: The template cannot be read, does not render, has no sections, or
                damaged ones.
        """
        name = template_name(document)
        try:
            if name not in self._used_names:
                self._used_names[name] = self._find_used_names(name)
            names = self._used_names[name]
            given = {key: value for key, value in variables.items() if not names or key in names}
            latest = self._latest.get(name)
            if latest is not None and latest[0] == given:
                return latest[1]
            rendered = self._environment.get_template(name).render(variables)
            text = self._masked(name, without_double_blank_lines(rendered))
            sections = parse_sections(text)
        except MarkerError as exc:
            raise TemplateError(name, 0, f"makes a document with damaged markers: {exc}") from exc
        except Exception as exc:
            # A template can raise anything: jinja2's own errors, TypeError, ZeroDivisionError,
            # RecursionError, OSError.
            raise self._translated(name, exc) from exc
        if not sections:
            raise TemplateError(
                name,
                0,
                "makes a document without a section; put what should be kept up to date between "
                "marker lines, see the packaged template",
            )
        self._latest[name] = given, text
        return text

    def _masked(self, name: str, text: str) -> str:
        """Return a text without secrets; what was looked at last time is not looked at again."""
        earlier = self._without_secrets.get(name)
        parts = [text] if earlier is None else _new_parts(earlier, text)
        if any(mask(part) != part for part in parts):
            return mask(text)
        self._without_secrets[name] = text
        return text

    def _find_used_names(self, name: str) -> set[str]:
        from jinja2 import meta

        loader = self._environment.loader
        if loader is None:
            return set()
        source, _, _ = loader.get_source(self._environment, name)
        tree = self._environment.parse(source)
        if set(meta.find_referenced_templates(tree)) - {_SHARED_PARTS}:
            return set()
        return meta.find_undeclared_variables(tree)

    def _translated(self, name: str, exc: Exception) -> TemplateError:
        from jinja2 import TemplateNotFound, TemplateSyntaxError

        if isinstance(exc, TemplateSyntaxError):
            reason = exc.message or "it cannot be understood"
            return TemplateError(exc.name or name, exc.lineno, reason)
        template, line = self._place_of(exc, name)
        if isinstance(exc, TemplateNotFound):
            return TemplateError(template, line, f"there is no template {exc.name!r}")
        if isinstance(exc, OSError):
            return TemplateError(template, line, f"cannot be read ({exc.strerror})")
        return TemplateError(template, line, f"{type(exc).__name__}: {exc}")

    def _place_of(self, exc: Exception, name: str) -> tuple[str, int]:
        """Return the template and the line that raised; line 0 when it is unknown."""
        # jinja2 rewrites tracebacks so that they point into the template.
        for frame in reversed(traceback.extract_tb(exc.__traceback__)):
            path = Path(frame.filename)
            if path.parent in (self._overrides, _PACKAGED):
                return path.name, frame.lineno or 0
        return name, 0


def _new_parts(earlier: str, text: str) -> Iterator[str]:
    """Yield the lines of a text that were not in an earlier one, with those around them.

    What stands in a text of a thousand lines is looked at for secrets with each completion. No
    secret is longer than the lines around.
    """
    around = _MOST_LINES if _LONG_BEGINS in text else _FEW_LINES
    before, lines = earlier.split("\n"), text.split("\n")
    known = set(pairwise(before))
    end = 0
    for number, pair in enumerate(pairwise(lines)):
        if pair in known or number + 2 + around <= end:
            continue
        start = max(number - around, 0)
        end = number + 2 + 2 * around
        yield "\n".join(lines[start:end])
    if len(lines) == 1:
        yield text


def _environment(overrides: Path | None) -> SandboxedEnvironment:
    from jinja2 import ChoiceLoader, FunctionLoader, PackageLoader, StrictUndefined
    from jinja2.sandbox import SandboxedEnvironment

    own = FunctionLoader(partial(_load_own, overrides))
    packaged = PackageLoader("vespera_orchestrator.documents")
    return SandboxedEnvironment(
        loader=ChoiceLoader([own, packaged]),
        undefined=StrictUndefined,
        autoescape=False,  # the output is Markdown, and the material is escaped for it
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _load_own(overrides: Path | None, name: str) -> _LoadedTemplate | None:
    """Return the text of a template of one's own, its file, and whether it still is the same.

    ``None`` where there is none of this name. jinja2's own loader reads whatever it finds there.
    """
    if overrides is None or not stays_inside(name):
        return None
    file = overrides / name
    try:
        stamp = file_stamp(file)
        text = read_small_text(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return text, str(file), lambda: file_stamp(file) == stamp
