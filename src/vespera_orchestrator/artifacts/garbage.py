"""Collecting contents without a record, and whether that is safe from here."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_value
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.tasks.arguments import is_number

if TYPE_CHECKING:
    from vespera_orchestrator.artifacts.content import Collected
    from vespera_orchestrator.contracts import ContentStore, Store
    from vespera_orchestrator.home.locate import Home
    from vespera_orchestrator.home.scope import Scope

_SHORTEST_GRACE_S: Final = 3600.0
_LONGEST_GRACE_S: Final = 3.2e9
_MOST_NAMED_USERS: Final = 3


def note_foreign_store(scope: Scope, content: ContentStore) -> None:
    """Leave a note in the home if a store from elsewhere puts contents into its folder.

    Otherwise whoever opens the home without that store would take its contents for garbage.
    """
    home = scope.home
    if home.readonly:
        return
    if not isinstance(content, FolderContent) or content.folder != home.artifacts:
        return
    if home.is_own_store(scope.store.url) or scope.store.url.startswith("memory:"):
        return
    with suppress(OSError):
        home.shared.touch()


def collect(
    scope: Scope, content: ContentStore, *, older_than_s: float, dry_run: bool, sole_user: bool
) -> Collected:
    """See `Artifacts.collect_garbage`."""
    _check_grace_time(older_than_s)
    store = scope.store
    if isinstance(content, FolderContent):
        _refuse_other_users(scope.home, store, content)
        if not sole_user and not _is_own_folder(scope.home, store, content):
            raise InvalidInputError(
                "sole_user",
                f"other stores may refer to contents in {content.folder}, and these would be "
                "lost; pass sole_user=True if there are no other stores",
            )
        return content.collect(store.content_digests, older_than_s=older_than_s, dry_run=dry_run)

    from vespera_orchestrator.artifacts.content.object_store import ObjectContent

    if isinstance(content, ObjectContent):
        return content.collect(
            store.content_digests,
            older_than_s=older_than_s,
            dry_run=dry_run,
            user=None if sole_user else store.identity,
        )
    raise InvalidInputError(
        "content",
        f"{content.url} is not collected from here; {type(content).__name__} may know how",
    )


def remove(scope: Scope, content: ContentStore, digest: str) -> None:
    """Remove a content that no record refers to any more, at once.

    Raises:
        InvalidInputError: Others may rely on it, or the content store cannot do that.
    """
    if isinstance(content, FolderContent):
        _refuse_other_users(scope.home, scope.store, content)
        content.remove(digest)
        return

    from vespera_orchestrator.artifacts.content.object_store import ObjectContent

    if isinstance(content, ObjectContent):
        content.remove(digest, user=scope.store.identity)
        return
    removal = getattr(content, "remove", None)
    if not callable(removal):
        problem = f"{type(content).__name__} cannot remove a content; remove {digest} there"
        raise InvalidInputError("content", problem)
    removal(digest)


def _refuse_other_users(home: Home, store: Store, content: FolderContent) -> None:
    """Refuse to collect where another store is known to put contents, whatever the caller says.

    Raises:
        InvalidInputError: Names the stores, and what to delete if they are gone.
    """
    others = content.other_users(store.identity)
    names = [f"{marker}: {identity}" for marker, identity in others.items()]
    remedy = "if one of these is gone for good, delete that file"
    owner = attrs.evolve(home, path=content.folder.parent)
    if content.folder != home.artifacts and _is_artifacts_of(owner, store, content):
        names.append(str(owner.database))
        remedy = "if one of these is gone for good, delete that file; otherwise collect from there"
    if names:
        raise InvalidInputError(
            "content",
            f"other stores put their contents into {content.folder} too, and contents to which "
            f"only they refer would be lost ({'; '.join(names[:_MOST_NAMED_USERS])}); {remedy}",
        )


def _is_artifacts_of(home: Home, store: Store, content: FolderContent) -> bool:
    """Tell whether the folder is that of a home whose own database is not the store."""
    is_there = content.folder == home.artifacts and home.database.exists()
    return is_there and not home.is_own_store(store.url)


def _check_grace_time(older_than_s: float) -> None:
    if not is_number(older_than_s) or not _SHORTEST_GRACE_S <= older_than_s < _LONGEST_GRACE_S:
        length = f"{_SHORTEST_GRACE_S:.0f} seconds or more, up to a century"
        raise InvalidInputError("older_than_s", f"{show_value(older_than_s)} should be {length}")


def _is_own_folder(home: Home, store: Store, content: FolderContent) -> bool:
    """Return whether only the home's own database refers to the contents."""
    if content.folder != home.artifacts or home.shared.exists():
        return False
    return home.is_own_store(store.url)
