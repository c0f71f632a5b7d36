"""What libgit2 would handle wrongly without saying so: filters, encodings, sparse checkouts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pygit2
from pygit2.enums import ObjectType

from vespera_orchestrator.errors import UnsupportedRepositoryError
from vespera_orchestrator.home.reading import read_small_file
from vespera_orchestrator.worktrees.git_config import attribute_files, is_true, read_settings
from vespera_orchestrator.worktrees.translation import REFTABLE, SHA256

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_UTF8: Final = frozenset({"utf-8", "utf8", ""})
_REFUSED_SETTINGS: Final = (
    (r"core\.sparsecheckout", "sparse checkout", "git sparse-checkout disable"),
    (
        r"remote\..*\.promisor|extensions\.partialclone",
        "a partial clone",
        "clone it again without --filter",
    ),
)
"""Pattern of a setting that must be off, the feature that it turns on, and what to do about it."""
_ATTRIBUTE_REMEDY: Final = (
    "remove the attribute, or work without worktrees in this repository; "
    "everything else of the orchestrator works"
)


class CompatibilityCheck:
    """Looks for features that libgit2 gets wrong; trees that were found clean are remembered."""

    def __init__(self, common: Path) -> None:
        self._common = common
        self._clean_trees: dict[str, bool] = {}
        """For each, whether it has a file ``.gitattributes``."""

    def refuse_unsupported(self, repo: pygit2.Repository, commits: Iterable[str]) -> None:
        """Check the configuration, and the files of *commits*.

        Raises:
            UnsupportedRepositoryError: Names the feature and the remedy.
        """
        settings = read_settings(repo)
        _refuse_settings(settings)
        for path in attribute_files(self._common, settings):
            _refuse_attributes(read_small_file(path), str(path), settings)
        for commit in commits:
            self._refuse_tree(repo, repo[commit].peel(pygit2.Tree), "", settings)

    def are_files_as_stored(self, repo: pygit2.Repository, tree: pygit2.Tree) -> bool:
        """Tell whether git writes the files of *tree* to disk just as it stores them.

        That is: nothing asks for other line ends, or for filters.

        Raises:
            UnsupportedRepositoryError: They use a feature that libgit2 gets wrong.
        """
        settings = read_settings(repo)
        line_ends = settings.get("core.autocrlf", "").lower()
        if line_ends != "input" and is_true(line_ends):
            return False
        if attribute_files(self._common, settings):
            return False
        return not self._refuse_tree(repo, tree, "", settings)

    def _refuse_tree(
        self, repo: pygit2.Repository, tree: pygit2.Tree, prefix: str, settings: Mapping[str, str]
    ) -> bool:
        """Check the files of *tree*; return whether there is a ``.gitattributes`` among them."""
        name = str(tree.id)
        if name not in self._clean_trees:
            has_attributes = False
            for entry in tree:
                if entry.type == ObjectType.TREE:
                    below = f"{prefix}{entry.name}/"
                    has_attributes |= self._refuse_tree(repo, entry, below, settings)
                elif entry.name == ".gitattributes":
                    has_attributes = True
                    if entry.type == ObjectType.BLOB:
                        _refuse_attributes(entry.data, f"{prefix}.gitattributes", settings)
            self._clean_trees[name] = has_attributes
        return self._clean_trees[name]


def _refuse_settings(settings: Mapping[str, str]) -> None:
    if settings.get("extensions.objectformat", "sha1").lower() != "sha1":
        raise UnsupportedRepositoryError(SHA256.feature, SHA256.remedy)
    if settings.get("extensions.refstorage", "files").lower() != "files":
        raise UnsupportedRepositoryError(REFTABLE.feature, REFTABLE.remedy)
    for name, value in settings.items():
        if not is_true(value):
            continue
        for pattern, feature, remedy in _REFUSED_SETTINGS:
            if re.fullmatch(pattern, name):
                raise UnsupportedRepositoryError(feature, remedy)


def _refuse_attributes(text: bytes, place: str, settings: Mapping[str, str]) -> None:
    for word in sorted(_attribute_words(text)):
        name, _, value = word.partition("=")
        if name == "filter" and _is_active_filter(value, settings):
            feature = "Git LFS" if value == "lfs" else f"the filter {value!r}"
            raise UnsupportedRepositoryError(f"{feature} ({place})", _ATTRIBUTE_REMEDY)
        if name == "working-tree-encoding" and value.lower() not in _UTF8:
            feature = f"working-tree-encoding={value} ({place})"
            raise UnsupportedRepositoryError(feature, _ATTRIBUTE_REMEDY)


def _attribute_words(text: bytes) -> set[str]:
    words: set[str] = set()
    for line in text.splitlines():
        if not line.lstrip().startswith(b"#"):
            words.update(word.decode("utf-8", "replace") for word in line.split()[1:])
    return words


def _is_active_filter(driver: str, settings: Mapping[str, str]) -> bool:
    """Tell whether git would run it: a filter without a driver does nothing.

    LFS always counts, because its driver may be installed at any time.
    """
    if driver == "lfs":
        return True
    prefix = f"filter.{driver}."
    return any(name.startswith(prefix) for name in settings)
