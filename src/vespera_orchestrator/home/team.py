"""What all homes that work in one session have to have in common.

A session's homes may be on several machines, each with a ``config.toml`` of its own. If one of them
lands without the check that another one has, or keeps its bytes where nobody else can read them,
nobody notices. So the settings that are about everybody's work are also in the store. The home that
started the session decides; it goes on deciding whenever its ``config.toml`` is changed.

The store only says what was agreed on. Whether this machine runs a command, or sends bytes to an
address, is decided by its own configuration: a row is data, not authority. So where a home would do
less than was agreed, it is refused until a person has given it the same settings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import SettingDifference, TeamSettings, utcnow
from vespera_orchestrator.errors import SettingsConflictError
from vespera_orchestrator.home.identity import machine_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from vespera_orchestrator.contracts import Store
    from vespera_orchestrator.home.config import WorktreeSettings
    from vespera_orchestrator.home.scope import Scope

_CONTENT: Final = "content"
_DECIDED: Final = {
    "integration_branch": "worktrees.integration_branch",
    "landing_check": "worktrees.check",
    "undoing": "worktrees.undoing",
    "content_address": _CONTENT,
}
"""The fields that are settings, with their names in ``config.toml``."""
_LENIENT: Final = (None, "warn")
"""Values that ask nothing of a home: one that differs does more than was agreed."""


class Team:
    """Compares this home with what its sessions have agreed on.

    Args:
        scope: The home and the store.
        content: Address of the content store, if it is one that other homes can reach.
    """

    def __init__(self, scope: Scope, content: str | None) -> None:
        self._scope = scope
        self._content = content
        self._readable: set[str] = set()
        """Sessions whose other homes can read what this one stores."""

    # comparing

    def differences(self, session_id: str) -> tuple[SettingDifference, ...]:
        """Return what differs, and write nothing. Empty where nothing was agreed on yet."""
        agreed = self._expected(session_id)
        return () if agreed is None else tuple(_differences(self._own(session_id), agreed))

    def is_outdated(self, session_id: str) -> bool:
        """Tell whether this home decides, and its file has changed since this process read it.

        Opening the home again is then all that there is to do.
        """
        agreed = self._expected(session_id)
        return agreed is not None and self._is_outdated(agreed)

    def conflict(self, session_id: str, *, lands: bool) -> SettingsConflictError | None:
        """Return what `refuse_conflict` would raise, and write nothing."""
        agreed = self._expected(session_id)
        return None if agreed is None else self._conflict(agreed, lands=lands)

    def refuse_conflict(self, session_id: str, *, lands: bool) -> None:
        """Refuse work for which this home would do less than was agreed.

        Where nothing was agreed on yet, this home's settings count from now on.

        Args:
            session_id: The session of the work.
            lands: Whether the work is in a worktree. Otherwise only the content store matters, and
                a home that did as agreed before is not asked again.

        Raises:
            SettingsConflictError: Says what to set.
        """
        if self._is_alone or (session_id in self._readable and not lands):
            return
        error = self._conflict(self._agree(session_id), lands=lands)
        if error is not None:
            raise error
        self._readable.add(session_id)

    def _conflict(self, agreed: TeamSettings, *, lands: bool) -> SettingsConflictError | None:
        own = self._own(agreed.session_id)
        in_the_way = tuple(
            each
            for each in _differences(own, agreed)
            if each.is_refused and (lands or each.setting == _CONTENT)
        )
        if not in_the_way:
            return None
        agreed_by = f"{agreed.project} on {agreed.machine}"
        return SettingsConflictError(
            agreed.session_id,
            tuple(each.setting for each in in_the_way),
            "; ".join(map(str, in_the_way)),
            self._remedies(agreed, in_the_way),
            str(self._config_file),
            agreed_by,
        )

    def _remedies(
        self, agreed: TeamSettings, in_the_way: tuple[SettingDifference, ...]
    ) -> tuple[str, ...]:
        if self._is_outdated(agreed):
            return ()  # the file is right
        return tuple(each.remedy for each in in_the_way)

    # agreeing

    def settings_of_new(self, session_id: str) -> TeamSettings | None:
        """Return what to agree on in a session that this home starts."""
        return None if self._is_alone else self._own(session_id)

    def share(self, session_id: str) -> TeamSettings:
        """Make the settings of this home those of every home that works in the session."""
        return self._store.agree_settings(self._own(session_id), replace=True)

    def agreed(self, session_id: str) -> TeamSettings:
        """Return what counts in the session; this home's settings before any home has worked."""
        return self._expected(session_id) or self._own(session_id)

    def _expected(self, session_id: str) -> TeamSettings | None:
        """Return what would count if this home began to work now; ``None`` before any has."""
        agreed = None if self._is_alone else self._store.team_settings(session_id)
        if agreed is None or agreed.home_id != self._scope.home.id:
            return agreed
        return self._decided_anew(agreed)

    def _agree(self, session_id: str) -> TeamSettings:
        """Return what counts, once this home has agreed to it, or decided it anew."""
        agreed = self._store.team_settings(session_id)
        if agreed is None:
            return self._store.agree_settings(self._own(session_id), replace=False)
        if agreed.home_id != self._scope.home.id:
            return agreed
        wanted = self._decided_anew(agreed)
        return agreed if wanted == agreed else self._store.agree_settings(wanted, replace=True)

    def _decided_anew(self, agreed: TeamSettings) -> TeamSettings:
        """Return what counts by the present settings of this home, which is the one to decide.

        A call that does not name the content store has forgotten it.
        """
        own = self._own(agreed.session_id)
        changed = {field: getattr(own, field) for field in _DECIDED}
        changed["content_address"] = own.content_address or agreed.content_address
        wanted = attrs.evolve(agreed, **changed)
        return wanted if wanted == agreed or self._is_config_current() else agreed

    # this home

    @property
    def _store(self) -> Store:
        return self._scope.store

    @property
    def _is_alone(self) -> bool:
        """Whether no other home can ever have this store."""
        return self._store.url == "memory:"

    @property
    def _config_file(self) -> Path:
        return self._scope.home.path / "config.toml"

    def _own(self, session_id: str) -> TeamSettings:
        worktrees = self._scope.home.config.worktrees
        check = worktrees.check
        return TeamSettings(
            session_id=session_id,
            integration_branch=worktrees.integration_branch,
            landing_check=tuple(check) if isinstance(check, list) else check,
            undoing=worktrees.undoing,
            content_address=self._content,
            home_id=self._scope.home.id,
            machine=machine_name(),
            project=str(self._scope.home.project),
            agreed_at=utcnow(),
        )

    def _is_outdated(self, agreed: TeamSettings) -> bool:
        return agreed.home_id == self._scope.home.id and not self._is_config_current()

    def _is_config_current(self) -> bool:
        """Tell whether ``config.toml`` still says what this process has read.

        A process that was started before the file was changed must not undo the change.
        """
        home = self._scope.home
        config = home.read_config()
        return _landing_settings(config.worktrees) == _landing_settings(home.config.worktrees)


def _landing_settings(settings: WorktreeSettings) -> tuple[object, ...]:
    return settings.integration_branch, settings.check, settings.undoing


def _differences(own: TeamSettings, agreed: TeamSettings) -> Iterator[SettingDifference]:
    """Yield what differs; what makes this home do more than was agreed is not refused."""
    for field, name in _DECIDED.items():
        here, there = getattr(own, field), getattr(agreed, field)
        if here != there:
            yield SettingDifference(
                setting=name, here=here, agreed=there, is_refused=there not in _LENIENT
            )
