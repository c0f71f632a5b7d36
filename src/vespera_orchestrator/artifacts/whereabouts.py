"""Where the bytes of an artifact are, if they are not here: in which other home or content store.

Homes share a store, and each may keep the bytes that it saves in its own folder. A record names
the home that has its bytes, so that nobody takes them for lost.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import ArtifactQuery
from vespera_orchestrator.artifacts.content.folder import FolderContent
from vespera_orchestrator.errors import ContentElsewhereError, StoreError
from vespera_orchestrator.home.identity import machine_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vespera_orchestrator._model import Artifact, HomePlace
    from vespera_orchestrator._rooms import Rooms
    from vespera_orchestrator.errors import CorruptContentError


@attrs.frozen(kw_only=True)
class Whereabouts:
    """Knows which homes have what is missing here."""

    rooms: Rooms
    """The store and the home that looks."""

    def explain(self, artifact: Artifact, missing: CorruptContentError) -> CorruptContentError:
        """Return the error that says where the bytes are; *missing* itself if nobody has them."""
        if not missing.is_missing:
            return missing
        error = self.in_other_home(missing, self._keepers(artifact), artifact.id)
        if error is not None:
            return error
        address = None if artifact.home_id else self._agreed_address(artifact.session_id)
        if address is None:
            return missing
        return ContentElsewhereError(
            missing.digest,
            missing.path,
            missing.reason,
            is_missing=True,
            place=address,
            fetch=f"open this home with content={address!r}",
        )

    def in_other_home(
        self, missing: CorruptContentError, keepers: Iterable[str], name: str
    ) -> ContentElsewhereError | None:
        """Return the error that says in which other home missing bytes are, if one is known.

        Args:
            missing: The error here.
            keepers: The ids of the homes that saved the bytes.
            name: What the bytes are of, for people.
        """
        home = self.other_home(keepers)
        if home is None:
            return None
        return ContentElsewhereError(
            missing.digest,
            missing.path,
            missing.reason,
            is_missing=True,
            machine=home.machine,
            place=home.path,
            fetch=self.fetch(home, missing.digest, name),
        )

    def other_home(self, keepers: Iterable[str]) -> HomePlace | None:
        """Return the first of these homes that is known, and is not the one that looks."""
        own_id = self.rooms.scope.home.id
        for home_id in sorted(set(keepers) - {"", own_id}):
            home = self.rooms.store.find_home(home_id)
            if home is not None:
                return home
        return None

    def fetch(self, home: HomePlace, digest: str, name: str) -> str:
        """Return how to bring a content here: a command for a shell, if the bytes go to a folder.

        A content may be compressed, and then its file has a suffix.
        """
        content = self.rooms.content
        if not isinstance(content, FolderContent):
            return (
                f"open that home with content={content.url!r}, and save what {name} has "
                "in its artifacts/ again"
            )
        source = shlex.quote(f"{home.path}/artifacts/{digest[:2]}/{digest[2:]}") + "*"
        target = shlex.quote(str(Path(content.folder, digest[:2])))
        copy = f"cp {source}"
        if home.machine != machine_name():
            copy = f"scp {shlex.quote(home.machine)}:{source}"
        return f"mkdir -p {target} && {copy} {target}/"

    def _keepers(self, artifact: Artifact) -> set[str]:
        """Return the homes that saved these bytes, for whatever artifact."""
        query = ArtifactQuery(digest=artifact.digest, include_superseded=True)
        return {each.home_id for each in self.rooms.store.artifacts(query)}

    def _agreed_address(self, session_id: str) -> str | None:
        """Return the content store of the session's homes, where this one uses another."""
        try:
            agreed = self.rooms.team.agreed(session_id).content_address
        except StoreError:
            return None
        return None if agreed == self.rooms.content.url else agreed
