"""The changes of a software project, by version and kind, as Keep a Changelog orders them.

One completed task is one change. What the work needed and nobody who uses the project would
notice is left out: reading, planning, recoveries, tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator.documents.collection import ended_at
from vespera_orchestrator.documents.completed_work import Inclusion, comparable, provenance
from vespera_orchestrator.documents.links import anchor_of
from vespera_orchestrator.documents.markdown import code, inline, labelled_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from vespera_orchestrator._model import Artifact, Task
    from vespera_orchestrator.documents.completed_work import CompletedWork
    from vespera_orchestrator.documents.tree import VersionTag

CATEGORIES: Final = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
_TOPIC: Final = "changelog"
_INTERNAL: Final = "internal"
_MAX_CHANGES: Final = 1000
"""The most changes that are listed; older ones are counted.

Each update keeps the whole text as a version, so it must not grow forever."""
_MAX_TEXT: Final = 500
_COMMIT_DIGITS: Final = 9
_SHORT_SUMMARY: Final = 3
"""A summary of fewer words is shown behind the title."""

_WORDS: Final[dict[str, str]] = {
    "Added": "add added adds implement implemented introduce introduced create created creates "
    "new support supports write wrote build built feature feat enhancement enh",
    "Fixed": "fix fixed fixes repair repaired resolve resolved correct corrected bug bugfix "
    "hotfix prevent prevented",
    "Removed": "remove removed removes delete deleted drop dropped removal",
    "Deprecated": "deprecate deprecated deprecates deprecation depr",
    "Security": "security cve harden hardened vulnerability",
    "Changed": "change changed changes update updated improve improved rename renamed replace "
    "replaced move moved perf performance speed optimize optimized breaking",
    _INTERNAL: "internal chore ci test tests testing docs documentation style refactor refactored "
    "research investigation investigate read explore review analyse analyze analysis study survey "
    "understand look check plan planning discuss evaluate audit triage reproduce synthesis "
    "synthesise synthesize decision adr design summarise summarize recovery spike none skip false "
    "lint linter typo typos whitespace grammar wording merge wip bump dev deps dependabot tox nox "
    "mypy pyright ruff precommit benchmark benchmarks reformat format formatting tst maint doc "
    "bld sty typ",
}
_CATEGORY_OF: Final = {word: category for category, text in _WORDS.items() for word in text.split()}
_NOT_NOTICED: Final = re.compile(
    r"\b(?:pre-commit|dependabot|github[- ]actions?|gha|gh-pages|codeql|typos?|ci|changelog|readme"
    r"|docstrings?|doctests?|docs|gofmt|golangci-lint|zizmor|classifiers?|license specifier"
    r"|development cycle|sponsors?|contributing guide|type[- ]ignores?"
    r"|nightly (?:build|test|workflow)s?|(?:unit|integration) tests?|start(?:ed)? testing"
    r"|test (?:suite|coverage|file|case|run|extra|requirement|matrix)s?|tests? (?:for|that)"
    r"|(?:publish|publishing|release|build) workflow|trusted publishing|release tooling"
    r"|codeowners|makefile|(?:issue|pull request) template|release notes|contributing\.md"
    r"|license\.md|typo ?fix(?:es)?|doc (?:tweak|update|fix|dependenc(?:y|ie))s?|dev setup)\b"
    r"|^\W*(?:migrate|switch|move)[ds]? (?:\S+ ){0,3}"
    r"(?:linting|type checking|dependency management|packaging)\b"
    r"|\b(?:upgrade|update|bump|pin|unpin|move|disable|ignore)[ds]? (?:\S+ ){0,4}"
    r"(?:mypy|pyright|ruff|flake8|pylint|isort|pytest|sphinx|tox)\b"
    r"|^\W*(?:upgrade|update|bump)[ds]? (?:dev |python )?"
    r"(?:dependencies|requirements|packages)(?:\.txt)?[.!]?(?: \(?#\d+\)?)?$"
    r"|^\W*(?:add|fix|make|move|parametri[sz]e|skip|improve|update|split)(?:e?d|e?s)?"
    r" (?:\S+ ){0,3}tests\b"
    r"|\b(?:lint(?:ing|er|s)?(?: (?:issues?|errors?|warnings?|fixes))?|formatting|coverage"
    r"|dev(?: deps| dependencies)?)[.!]?(?: \(?#\d+\)?)?$",
    re.IGNORECASE,
)
"""What concerns those who work on the project, whatever verb stands before it."""
_PREFIX: Final = re.compile(r"\[?([A-Za-z]+)(?:\([^)]*\))?(!)?(?::|\]:?)\s+(?=\S)")
"""What conventional commits begin with, such as ``feat(api)!:``, or ``[fix]``."""
_SCOPE: Final = re.compile(r"[\w./, -]{1,40}:\s+(?=\S)")
"""The part of the project that a title names first, such as ``kettle:``."""
_BREAKING: Final = re.compile(r"\s*BREAKING(?:[ -]CHANGE)?!?\s*:\s*", re.IGNORECASE)
_FIRST_WORD: Final = re.compile(r"\W*([A-Za-z]+)")
_SENTENCE_END: Final = re.compile(r"[.!?](?=\s)|。")
_VERSION: Final = re.compile(r"\bv?(\d+\.\d+(?:\.\d+)?(?:[-.+]?[A-Za-z][\w.+-]*)?)")
_NUMBER_BEHIND: Final = re.compile(r"[.。]?\s*(\((?:[\w./-]*#\d+)\))[.。]?\Z")
"""The number of an issue or a pull request behind a sentence."""
_RELEASE: Final = re.compile(
    r"\W*(?:(?:release|ship|publish|tag)\b"
    r"|(?:prepare|cut|bump(?: version)?(?: to)?)(?: for)?(?: release)? v?\d+\.\d"
    r"|(?:version )?v?\d+\.\d[\w.+-]*(?:\s+\(#\d+\))?[.!]?\s*$)",
    re.IGNORECASE,
)


@attrs.frozen(kw_only=True)
class Change:
    """One change, as users of the project notice it."""

    text: str
    """A sentence."""
    is_breaking: bool
    commit: str
    """The commit that brought it, shortened, as a code span; empty if none did."""
    comment: str
    """Where it comes from; not seen when the document is read."""
    line: str
    """All of it, as an item of a list."""


@attrs.frozen(kw_only=True)
class Release:
    """The changes of one version."""

    version: str
    """``Unreleased`` for what belongs to no version yet."""
    date: str
    """The day it was made; empty for what is unreleased."""
    categories: tuple[tuple[str, tuple[Change, ...]], ...]
    """The kinds of changes that there are, in their order, the newest change first."""

    @property
    def anchor(self) -> str:
        """What links to its heading."""
        return anchor_of(f"[{self.version}] - {self.date}" if self.date else self.version)


@attrs.frozen(kw_only=True)
class Changes:
    """The changes of a software project."""

    releases: tuple[Release, ...]
    """The newest first."""
    older_changes: int
    """How many more there are."""
    older_comment: str
    """The latest of them; not seen when the document is read."""

    @classmethod
    def collect(cls, work: CompletedWork) -> Changes:
        """Sort the completed tasks by version and kind."""
        if not work.kind.has_changelog:
            return cls(releases=(), older_changes=0, older_comment="")
        changelog = _Changelog(work)
        releases = tuple(changelog.releases())
        return cls(
            releases=releases,
            older_changes=changelog.older,
            older_comment=changelog.older_comment,
        )


@attrs.frozen(kw_only=True)
class _Version:
    name: str
    at: datetime


@attrs.define(kw_only=True)
class _Facts:
    """What one task changed."""

    category: str
    inclusion: Inclusion
    is_parent: bool
    """Whether the task has subtasks."""
    is_last: bool
    """Whether it was the last one."""
    commit: str | None
    """The commit that landed it."""
    change: Change | None = None
    """Worked out when it is listed."""


@attrs.frozen
class _ReadTasks:
    """What was read of tasks, the oldest first: the next reading goes on behind them.

    It is never changed, as several threads may read at once.
    """

    states: list[list[object]] = attrs.field(factory=list)
    """What it was read from: the tasks, their artifacts and their commits."""
    parents: set[str] = attrs.field(factory=set)
    facts: list[_Facts] = attrs.field(factory=list)

    def unchanged(self, states: list[list[object]], parents: set[str]) -> int:
        """Return of how many tasks the facts are as they were; the last one is another one now."""
        count = len(self.facts)
        # The same objects are the same at once, so this compares pointers.
        is_same = [each[:count] for each in states] == self.states and parents == self.parents
        return max(count - 1, 0) if is_same else 0


class _Changelog:
    def __init__(self, work: CompletedWork) -> None:
        self._work = work
        self._texts = _main_artifacts(work)
        self._parents = {task.parent_task_id for task in work.tasks if task.parent_task_id}
        self._last_task = work.tasks[-1] if work.tasks else None
        self._memory = work.reader.memory(_TOPIC)
        self._release_tasks: dict[str, str] = {}
        """The version that a task released, by the task's id."""
        self._versions = self._find_versions()
        self._tagged = {tag.commit: _named_by(tag) for tag in work.tree.tags}
        """The version of each commit that has a tag: git keeps whole seconds of its time."""
        self.older = 0
        self.older_comment = ""

    def _find_versions(self) -> list[_Version]:
        """Return the versions, the oldest first: from tags, and from tasks that released one."""
        versions = {_named_by(tag): tag.at for tag in self._work.tree.tags}
        for task_id, (name, at) in self._find_releases().items():
            self._release_tasks[task_id] = name
            versions.setdefault(name, at)
        found = [_Version(name=name, at=at) for name, at in versions.items()]
        return sorted(found, key=lambda version: version.at)

    def _find_releases(self) -> dict[str, tuple[str, datetime]]:
        """Return which version each task released, and when; only new tasks are looked at."""
        memory = self._work.reader.memory("released versions")
        tasks = self._work.tasks
        _, _, (looked_at, known) = memory.get("", (None, None, ((), {})))
        if tasks[: len(looked_at)] != looked_at:
            looked_at, known = (), {}
        releases = dict(known)
        for task in tasks[len(looked_at) :]:
            name = _released_version(task)
            if name is not None:
                releases[task.id] = name, ended_at(task)
        memory[""] = None, None, (tasks, releases)
        return releases

    def releases(self) -> Iterator[Release]:
        """Yield what is unreleased, then each version, the newest first."""
        by_version: dict[str, dict[str, list[Change]]] = {}
        texts: set[tuple[str, str, str]] = set()
        every = self._read_tasks()
        for position in range(len(every) - 1, -1, -1):
            if len(texts) == _MAX_CHANGES:
                self._leave_out(every[: position + 1])
                break
            task, facts = self._work.tasks[position], every[position]
            if facts.category == _INTERNAL:
                self._work.record(facts.inclusion)
                continue
            name = self._version_of(task)
            change = facts.change = facts.change or self._change(task)
            place = name, facts.category, change.text
            if place in texts:
                reason = "another change says the same"
                self._work.explain(_TOPIC, task.id, task.title, reason, shown=False)
                continue
            self._work.record(facts.inclusion)
            texts.add(place)
            categories = by_version.setdefault(name, {})
            categories.setdefault(facts.category, []).append(change)
        yield _release("Unreleased", "", by_version.get("", {}))
        for version in reversed(self._versions[self._first_shown() :]):
            date = f"{version.at:%Y-%m-%d}"
            yield _release(version.name, date, by_version.get(version.name, {}))

    def _leave_out(self, older: list[_Facts]) -> None:
        """Count the changes of the first tasks, which are too many to list."""
        self._work.inclusions += [facts.inclusion for facts in reversed(older)]
        positions = [at for at, facts in enumerate(older) if facts.category != _INTERNAL]
        self.older = len(positions)
        if positions:
            self.older_comment = _task_comment(self._work.tasks[positions[-1]])

    def _read_tasks(self) -> list[_Facts]:
        """Return what each task changed, the oldest first.

        With each completion, ten thousand tasks are as they were: only the others are looked at.
        """
        memory = self._work.reader.memory("tasks read for the changelog")
        _, _, read = memory.get("", (None, None, _ReadTasks()))
        ids = [task.id for task in self._work.tasks]
        states: list[list[object]] = [
            list(self._work.tasks),
            list(map(self._texts.get, ids)),
            list(map(self._work.commits.get, ids)),
        ]
        count = read.unchanged(states, self._parents)
        notes_before = len(self._work.reader.notes)
        facts: list[_Facts] = read.facts[:count]
        facts += [self._facts(task) for task in self._work.tasks[count:]]
        if len(self._work.reader.notes) == notes_before:
            # What could not be read now may be readable next time.
            memory[""] = None, None, _ReadTasks(states, self._parents, facts)
        return facts

    def _first_shown(self) -> int:
        """Return the position of the version on which the first task built.

        What came before it was made before the project kept its tasks here.
        """
        begun = ended_at(self._work.tasks[0]) if self._work.tasks else None
        earlier = [version for version in self._versions if begun is None or version.at < begun]
        return max(len(earlier) - 1, 0)

    def _version_of(self, task: Task) -> str:
        commit = self._work.commits.get(task.id)
        if commit in self._tagged:
            return self._tagged[commit]
        moment = ended_at(task)
        for version in self._versions:
            if moment <= version.at:
                return version.name
        return ""

    # --- one task ---------------------------------------------------------------

    def _facts(self, task: Task) -> _Facts:
        """Return what a task changed, worked out once for each of its states."""
        task_id = task.id
        artifact = self._texts.get(task_id)
        is_parent, is_last = task_id in self._parents, task is self._last_task
        commit = self._work.commits.get(task_id)
        latest = self._memory.get(task_id)
        # In the order in which these differ: ten thousand tasks pass here with each completion.
        if latest is not None and latest[0] is task and latest[1] is artifact:
            known: _Facts = latest[2]
            is_as_before = known.is_last is is_last and known.is_parent is is_parent
            if is_as_before and known.commit == commit:
                return known
        notes_before = len(self._work.reader.notes)
        category, reason = self._category(task)
        inclusion = Inclusion(
            topic=_TOPIC,
            subject=task.id,
            title=task.title,
            is_shown=category != _INTERNAL,
            reason=reason,
        )
        facts = _Facts(
            category=category,
            inclusion=inclusion,
            is_parent=is_parent,
            is_last=is_last,
            commit=commit,
        )
        if len(self._work.reader.notes) == notes_before:
            self._memory[task_id] = task, artifact, facts
        return facts

    def _category(self, task: Task) -> tuple[str, str]:
        """Return the kind of change that a task made, and what says so."""
        if task.id in self._release_tasks:
            return _INTERNAL, f"it released version {self._release_tasks[task.id]}"
        if task.recovers_task_id is not None:
            return _INTERNAL, "it is a recovery"
        if task.id in self._parents:
            return _INTERNAL, "its subtasks have the changes"
        by_clue = self._category_by(self._clues(task), task)
        if by_clue is not None:
            return by_clue
        prefix = _prefix_of(task)
        unnoticed = _NOT_NOTICED.search(task.title)
        if unnoticed is not None and prefix and _says_no_more(task):
            return _INTERNAL, f"its title names {unnoticed[0]!r}"
        implied = [("the beginning of its title or summary", prefix), *self._kinds(task)]
        return self._category_by(implied, task) or self._category_by_words(task)

    def _category_by(self, clues: Iterable[tuple[str, str]], task: Task) -> tuple[str, str] | None:
        """Return the kind of change that the first clue names which names one."""
        for reason, text in clues:
            category = _CATEGORY_OF.get(text.lower())
            if category is not None:
                return self._unless_it_breaks(task, category), f"{reason} says {text!r}"
        return None

    def _unless_it_breaks(self, task: Task, category: str) -> str:
        """Return *category*; what breaks something is no addition, whatever its prefix says."""
        _, is_breaking = _change_text(task)
        if category != "Added" or not is_breaking:
            return category
        title, _ = _without_prefix(task.title)
        verb = _CATEGORY_OF.get(_first_word(title), "Changed")
        return verb if verb in ("Removed", "Deprecated", "Security") else "Changed"

    def _clues(self, task: Task) -> Iterator[tuple[str, str]]:
        """Yield what names the kind of change in so many words, the surest first."""
        for key in ("changelog", "change", "category", "change_type"):
            value = task.outputs.get(key)
            if value is not None:
                yield f"its output {key!r}", str(value)
        for label, value in self._labels(task).items():
            if label.lower() in ("changelog", "change type"):
                yield f"the line {label!r} of its work", value

    def _kinds(self, task: Task) -> Iterator[tuple[str, str]]:
        yield "its task type", task.task_type
        artifact = self._texts.get(task.id)
        if artifact is not None:
            yield "its artifact type", str(artifact.kind)

    def _category_by_words(self, task: Task) -> tuple[str, str]:
        unnoticed = _NOT_NOTICED.search(task.title)
        if unnoticed is not None and _says_no_more(task):
            return _INTERNAL, f"its title names {unnoticed[0]!r}"
        summary = _verb(task.summary or "")
        category = _CATEGORY_OF.get(summary, _INTERNAL)
        if category != _INTERNAL:
            return category, f"its summary begins with {summary!r}"
        title = _verb(task.title)
        category = _CATEGORY_OF.get(title, "Changed")
        has_landed = task.id in self._work.commits
        if category == _INTERNAL and has_landed:
            return "Changed", "its files were landed"
        if title in _CATEGORY_OF:
            return category, f"its title begins with {title!r}"
        return "Changed", "nothing says otherwise"

    def _labels(self, task: Task) -> Mapping[str, str]:
        artifact = self._texts.get(task.id)
        if artifact is None:
            return {}
        return self._work.reader.analyse(artifact, "labels", labelled_lines)

    def _change(self, task: Task) -> Change:
        text, is_breaking = _change_text(task)
        for label, value in self._labels(task).items():
            if label.upper() in ("BREAKING CHANGE", "BREAKING-CHANGE", "BREAKING"):
                is_breaking = True
                text = value if len(text.split()) < _SHORT_SUMMARY else text
        commit = self._work.commits.get(task.id, "")
        if task is self._last_task:
            commit = ""  # the document may be part of that very commit
        artifact = self._texts.get(task.id)
        comment = _task_comment(task) if artifact is None else provenance(artifact.id, task)
        sentence = _sentence(text)
        short = code(commit[:_COMMIT_DIGITS]) if commit else ""
        breaking = "**Breaking:** " if is_breaking else ""
        link = f" ({short})" if short else ""
        return Change(
            text=sentence,
            is_breaking=is_breaking,
            commit=short,
            comment=comment,
            line=f"- {breaking}{sentence}{link} {comment}",
        )


def _named_by(tag: VersionTag) -> str:
    return tag.name.removeprefix("v")


def _task_comment(task: Task) -> str:
    """Return a comment that says which task something comes from, for one without artifacts."""
    return f"<!-- task {task.alias} ({task.id}) -->"


def _release(version: str, date: str, categories: Mapping[str, list[Change]]) -> Release:
    ordered = [(name, tuple(categories[name])) for name in CATEGORIES if name in categories]
    return Release(version=version, date=date, categories=tuple(ordered))


def _main_artifacts(work: CompletedWork) -> dict[str, Artifact]:
    """Return the first artifact of each task: the work that it handed in."""
    main: dict[str, Artifact] = {}
    for artifact in work.artifacts:
        if artifact.task_id is not None:
            main.setdefault(artifact.task_id, artifact)
    return main


def _released_version(task: Task) -> str | None:
    """Return the version that a task released; ``None`` if it released none."""
    if task.task_type != "release" and _RELEASE.match(task.title) is None:
        return None
    named = task.outputs.get("version")
    for text in (str(named or ""), task.title, task.summary or ""):
        match = _VERSION.search(text)
        if match is not None:
            return match[1]
    return None


def _first_word(text: str) -> str:
    match = _FIRST_WORD.match(text)
    return "" if match is None else match[1].lower()


def _prefix_of(task: Task) -> str:
    """Return what the title, or else the summary, begins with as conventional commits do."""
    for text in (task.title, task.summary or ""):
        prefix = _PREFIX.match(text)
        if prefix is not None and prefix[1].lower() in _CATEGORY_OF:
            return prefix[1]
    return ""


def _verb(text: str) -> str:
    """Return the word that says what was done: the first, or the first behind a scope."""
    first = _first_word(text)
    scope = _SCOPE.match(text)
    if scope is None or first in _CATEGORY_OF:
        return first
    return _first_word(text[scope.end() :])


def _says_no_more(task: Task) -> bool:
    """Tell whether the summary of a task says no more than its title."""
    summary = comparable(task.summary or "")
    return not summary or summary == comparable(task.title)


def _change_text(task: Task) -> tuple[str, bool]:
    """Return what a task changed, as it was written, and whether it says that it breaks something.

    Conventional prefixes are left out.
    """
    title, title_breaks = _without_prefix(task.title)
    summary, summary_breaks = _without_prefix(task.summary or "")
    is_breaking = title_breaks or summary_breaks
    if not summary.strip() or _says_no_more(task):
        return title, is_breaking
    is_sentence = len(summary.split()) >= _SHORT_SUMMARY
    if is_sentence or _CATEGORY_OF.get(_first_word(summary), _INTERNAL) != _INTERNAL:
        return summary, is_breaking
    if comparable(summary).startswith(comparable(title)):
        return summary, is_breaking
    return f"{title}: {summary}", is_breaking


def _without_prefix(text: str) -> tuple[str, bool]:
    is_breaking = False
    breaking = _BREAKING.match(text)
    if breaking is not None:
        return text[breaking.end() :], True
    prefix = _PREFIX.match(text)
    if prefix is not None and prefix[1].lower() in _CATEGORY_OF:
        is_breaking = prefix[2] is not None
        text = text[prefix.end() :]
    return text, is_breaking


def _whole_sentences(text: str) -> str:
    """Return the beginning of a text, as many of its sentences as are shown."""
    ends = [end.end() for end in _SENTENCE_END.finditer(text, 0, _MAX_TEXT)]
    return text if len(text) <= _MAX_TEXT or not ends else text[: ends[-1]]


def _sentence(text: str) -> str:
    """Return a text as one safe line of Markdown that begins and ends like a sentence."""
    flat = _NUMBER_BEHIND.sub(r" \1", " ".join(text.split()))
    first, _, _ = flat.partition(" ")
    if first.islower() and first.isalpha():
        flat = flat[0].upper() + flat[1:]
    line = inline(_whole_sentences(flat), limit=_MAX_TEXT) or "(untitled)"
    return line if line.endswith((".", "!", "?", "…", ":", "。")) else f"{line}."
