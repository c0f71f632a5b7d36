"""The only door to jinja2."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from vespera_orchestrator.documents.sections import MarkerError, parse
from vespera_orchestrator.errors import TemplateError

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

    from vespera_orchestrator.documents.sources import Material

PACKAGED = Path(__file__).parent / "templates"
"""The templates that come with the library."""
SUFFIX = ".j2"


def template_files(documents: tuple[str, ...], overrides: Path) -> list[Path]:
    """Return every file that may decide how *documents* look: the packaged ones, and whatever lies in *overrides*."""
    own = sorted(overrides.iterdir()) if overrides.is_dir() else []
    return [*own, *(PACKAGED / (name + SUFFIX) for name in ("_parts.md", *documents))]


class Renderer:
    """Renders documents from the packaged templates, or from those of the same name in *overrides*.

    Templates run in jinja2's sandbox, an undefined name is an error, and nothing is escaped: the material already is.
    """

    def __init__(self, overrides: Path) -> None:
        self._overrides = overrides
        self._environment = self._open()

    def _open(self) -> SandboxedEnvironment:
        from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        return SandboxedEnvironment(
            loader=ChoiceLoader(
                [FileSystemLoader(self._overrides), PackageLoader("vespera_orchestrator.documents")]
            ),
            undefined=StrictUndefined,
            autoescape=False,  # the output is Markdown, and the material is escaped for it
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def render(self, document: str, material: Material) -> str:
        """Return the text of *document*, sections and all.

        Raises:
            TemplateError: The template cannot be read, does not render, has no sections, or damaged ones.
        """
        name = document + SUFFIX
        try:
            text = self._environment.get_template(name).render(
                attrs.asdict(material, recurse=False)
            )
            sections = parse(text)
        except MarkerError as exc:
            raise TemplateError(name, 0, f"makes a document with damaged markers: {exc}") from exc
        except Exception as exc:  # a template can raise anything: jinja2's own, TypeError, ZeroDivisionError, RecursionError, OSError
            raise self._translated(name, exc) from exc
        if not sections:
            reason = "makes a document without a section; put what should be kept up to date between marker lines, see the packaged template"
            raise TemplateError(name, 0, reason)
        return text

    def _translated(self, name: str, exc: Exception) -> TemplateError:
        from jinja2 import TemplateNotFound, TemplateSyntaxError

        if isinstance(exc, TemplateSyntaxError):
            return TemplateError(
                exc.name or name, exc.lineno, exc.message or "it cannot be understood"
            )
        # jinja2 rewrites tracebacks so that they point into the template.
        places = [
            (Path(frame.filename), frame.lineno or 0)
            for frame in traceback.extract_tb(exc.__traceback__)
        ]
        inside = [
            (path.name, line) for path, line in places if path.parent in (self._overrides, PACKAGED)
        ]
        where, line = inside[-1] if inside else (name, 0)
        reason = (
            f"there is no template {exc.name!r}"
            if isinstance(exc, TemplateNotFound)
            else f"{type(exc).__name__}: {exc}"
        )
        return TemplateError(where, line, reason)
