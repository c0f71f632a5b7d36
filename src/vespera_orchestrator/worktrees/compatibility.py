"""What libgit2 would handle wrongly without saying so: filters, encodings, sparse checkouts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import pygit2

from vespera_orchestrator.errors import UnsupportedRepositoryError
from vespera_orchestrator.home.reading import MOST_BYTES, read_small_file
from vespera_orchestrator.worktrees.git_config import attribute_files, is_true, read_settings
from vespera_orchestrator.worktrees.paths import display_path
from vespera_orchestrator.worktrees.translation import REFTABLE, SHA256
from vespera_orchestrator.worktrees.tree_survey import TreeSurvey, read_blob

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
    """Looks for what libgit2 gets wrong; what was found to be sound is remembered."""

    def __init__(self, common: Path) -> None:
        self._common = common
        self._survey = TreeSurvey()
        self._clean_attributes: set[bytes] = set()

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
            self._refuse_tree(repo, repo[commit].peel(pygit2.Tree), settings)

    def refuse_giants(self, repo: pygit2.Repository, names: Iterable[str]) -> None:
        """Check only whether these commits and trees have too many files or levels.

        Raises:
            UnsupportedRepositoryError: They have.
        """
        for name in names:
            self._survey.contents(repo, repo[name].peel(pygit2.Tree).id.raw)

    def size_bytes(self, repo: pygit2.Repository, name: str) -> int:
        """Return how much room the files of a commit or tree take.

        Raises:
            UnsupportedRepositoryError: They are too many or too large.
        """
        tree = repo[name].peel(pygit2.Tree).id.raw
        self._survey.contents(repo, tree)
        return self._survey.size_bytes(repo, tree)

    def are_files_as_stored(self, repo: pygit2.Repository, tree: pygit2.Tree) -> bool:
        """Tell whether git writes the files of *tree* to disk just as it stores them.

        That is: nothing asks for other line ends, or for filters.

        Raises:
            UnsupportedRepositoryError: They use a feature that libgit2 gets wrong.
        """
        settings = read_settings(repo)
        has_attributes = self._refuse_tree(repo, tree, settings)
        line_ends = settings.get("core.autocrlf", "").lower()
        if line_ends != "input" and is_true(line_ends):
            return False
        return not (has_attributes or attribute_files(self._common, settings))

    def _refuse_tree(
        self, repo: pygit2.Repository, tree: pygit2.Tree, settings: Mapping[str, str]
    ) -> bool:
        """Check the files of *tree*; return whether there is a ``.gitattributes`` among them."""
        attributes = self._survey.contents(repo, tree.id.raw).attributes
        for path, blob in attributes:
            if blob not in self._clean_attributes:
                text = read_blob(repo, blob.hex(), MOST_BYTES)
                _refuse_attributes(text, display_path(path), settings)
                self._clean_attributes.add(blob)
        return bool(attributes)


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
