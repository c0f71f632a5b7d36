"""Saying once that a home may do what it asks for."""

from __future__ import annotations

import os

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._mistakes import names_mistakes
from vespera_orchestrator._records import JsonForm, Record
from vespera_orchestrator.errors import ReadOnlyError, UntrustedHomeError
from vespera_orchestrator.home.links import refuse_links
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.trust import ENV_TRUST, record_consent, user_folder


@attrs.frozen(kw_only=True)
class Consent(Record):
    """What a home may do beyond its own folder, because you said so; see `trust`."""

    home: str
    """The home's folder."""
    powers: tuple[str, ...]
    """What it may do, one setting or folder each."""
    recorded_in: str
    """The file that remembers it. Delete it to take the consent back."""

    json_form = JsonForm(rest="vespera_orchestrator.trust({home!r})", first=("home", "powers"))

    def __str__(self) -> str:
        if not self.powers:
            return f"{self.home} asks for nothing that needs your consent."
        lines = [f"- {power}" for power in self.powers]
        recorded = f"A change to any of it asks again. To take it back, delete {self.recorded_in}"
        return "\n".join([f"{self.home} may from now on:", *lines, recorded])


@names_mistakes
def trust(
    path: str | os.PathLike[str] = ".", *, home: str | os.PathLike[str] | None = None
) -> Consent:
    """Allow the home of the project around *path* what it asks for, from the next opening on.

    A home that came with somebody else's files has settings, templates and roles that do not count
    until you call this: commands, addresses, folders to write to, instructions to agents. Read them
    first: opening the home names each one in a warning. Homes that you made need no consent.

    The answer is kept in your own configuration folder (``$XDG_CONFIG_HOME/vespera_orchestrator``),
    under the path of the home. If what it asks for changes, it is asked for again. For hosts that
    nobody watches, ``VESPERA_ORCHESTRATOR_TRUST`` names folders whose homes are trusted.

    Args:
        path: A folder of the project.
        home: The home's folder, where the project's own is not meant.

    Raises:
        UntrustedHomeError: Something in the home is a link.
        ReadOnlyError: Your configuration folder cannot be written.
        InvalidInputError: *path* is not a folder, or ``config.toml`` is wrong.
    """
    place = Home.locate(path, home)
    refuse_links(place.path)
    file = ""
    if place.powers:
        try:
            file = str(record_consent(place.path, place.powers))
        except OSError as exc:
            problem = f"{exc.strerror}; or set {ENV_TRUST} to {place.path.parent}"
            raise ReadOnlyError(str(user_folder()), problem) from exc
    return Consent(home=str(place.path), powers=tuple(map(str, place.powers)), recorded_in=file)


def refuse_elsewhere(home: Home) -> None:
    """Refuse to open a home whose records are at an address that nobody has allowed.

    Going on with its own database would split the work in two.

    Raises:
        UntrustedHomeError: With the call that allows it.
    """
    for power in home.withheld:
        if power.setting == "store.url":
            problem = f"it keeps its records elsewhere ({power.name})"
            remedy = f"{allowing_call(home)}; or name the store yourself, with store="
            raise UntrustedHomeError(str(home.path), problem, remedy)


def allowing_call(home: Home) -> str:
    """Return what to do so that the home gets what it asks for."""
    own = home.path == home.project / home.path.name
    argument = repr(str(home.project)) if own else f"home={str(home.path)!r}"
    return f"if you have read it and want it, call vespera_orchestrator.trust({argument})"


def withheld_warning(home: Home) -> str:
    """Say what the home does not get, on one line; empty if it gets all."""
    if not home.withheld:
        return ""
    listed = "; ".join(map(str, home.withheld))
    problem = f"{home.path} came from somebody else, so this part of it does not count: {listed}"
    return f"{problem}; {allowing_call(home)}"
