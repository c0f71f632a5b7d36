"""The bytes of artifacts, stored by digest: in a folder, or in an object store."""

from __future__ import annotations

from pathlib import Path

from vespera_orchestrator._text import show_value
from vespera_orchestrator.artifacts.content.collected import Collected
from vespera_orchestrator.contracts import ContentStore
from vespera_orchestrator.errors import InvalidInputError

__all__ = ["Collected", "caller_content", "open_chosen", "open_content"]

_OBJECT_STORE_SCHEMES = ("s3", "gs", "az", "memory")


def open_content(address: str | None, folder: Path) -> ContentStore:
    """Open the content store at *address*.

    Args:
        address: ``file:///folder``, ``s3://bucket/folder``, ``gs://…``, ``az://…``,
            ``memory://``, or ``None``.
        folder: Where the bytes are when *address* is ``None``.

    Raises:
        InvalidInputError: No content store has such an address.
        MissingDependencyError: It is an object store, and obstore is not installed.
    """
    from vespera_orchestrator.artifacts.content.folder import FolderContent

    if address is None:
        return FolderContent(folder)
    scheme, separator, path = address.partition("://")
    if scheme == "file" and path.startswith("/"):
        from urllib.request import url2pathname

        return FolderContent(Path(url2pathname(path)))
    if separator and scheme in _OBJECT_STORE_SCHEMES:
        from vespera_orchestrator.artifacts.content.object_store import ObjectContent

        return ObjectContent(address)
    schemes = ", ".join(f"{name}://" for name in ("file", *_OBJECT_STORE_SCHEMES))
    problem = f"{show_value(address)} is not the address of a content store"
    raise InvalidInputError("content", f"{problem}; addresses start with {schemes}")


def caller_content(content: object) -> ContentStore:
    """Return *content*, an object of the caller's, if it keeps the contract.

    See `contracts.ContentStore`.

    Raises:
        InvalidInputError: It does not.
    """
    if not isinstance(content, ContentStore):
        problem = "is neither an address nor an object that keeps the ContentStore contract"
        raise InvalidInputError("content", f"{show_value(content)} {problem}")
    return content


def open_chosen(
    chosen: str | ContentStore | None, folder: Path, *, user: str | None, is_owner: bool
) -> ContentStore:
    """Open what the caller chose: an address, an object of theirs, or by default *folder*.

    Args:
        chosen: See `open_content`; or an object, which is returned as it is.
        folder: Where the bytes are by default.
        user: The identity of the store whose records refer to the contents
            (`contracts.Store.identity`). A folder or an object store that several homes share
            keeps it, so that one does not collect what another refers to. ``None``: nothing will
            be put there.
        is_owner: Whether that is the store that *folder* belongs to. There, nobody need say so.
    """
    from vespera_orchestrator.artifacts.content.folder import FolderContent

    content: ContentStore | str | None = chosen
    if content is None or isinstance(content, str):
        content = open_content(content, folder)
    if user is None:
        return content
    if isinstance(content, FolderContent):
        if content.folder != folder or not is_owner:
            content.used_by(user)
    else:
        from vespera_orchestrator.artifacts.content.object_store import ObjectContent

        if isinstance(content, ObjectContent):
            content.used_by(user)
    return content
