"""The environment of this process, and what a child process may inherit of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL_GIT_VARIABLES: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NAMESPACE",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_QUARANTINE_PATH",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)
"""Variables that tie git to one repository.

Git sets some of them for its hooks, and hooks hand them on. They are those of ``git rev-parse
--local-env-vars``, and two that git sets beside them.
"""


def without_repository(environ: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of *environ* with which git finds the repository by the folder it runs in."""
    return {name: value for name, value in environ.items() if name not in LOCAL_GIT_VARIABLES}
