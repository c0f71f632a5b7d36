"""Artifacts and who was given them, worktrees, documents."""

from __future__ import annotations

from datetime import timedelta

import pytest

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._model import (
    ArtifactKind,
    ArtifactQuery,
    DocumentVersion,
    Ending,
    EventKind,
    HomePlace,
    NextAction,
    TaskArtifact,
    TeamSettings,
    Worktree,
    WorktreeState,
    new_id,
)
from vespera_orchestrator.errors import (
    ArtifactNotFoundError,
    ArtifactSupersededError,
    SessionNotFoundError,
    TaskNotFoundError,
    WorktreeNameTakenError,
)
from vespera_orchestrator.testing.store_contract.examples import (
    artifact,
    draft,
    kinds,
    start_session,
)
from vespera_orchestrator.testing.store_contract.fixtures import StoreFixtures


def _save(store, session_id, record, *, task_id=None, agent="ada"):
    return store.save_artifact(session_id, record, task_id=task_id, attempt=None, agent=agent)


def _worktree(session_id, clock, *, task_id, name="wt", home_id="") -> Worktree:
    return Worktree(
        name=name,
        session_id=session_id,
        task_id=task_id,
        agent="ada",
        path="/x",
        branch="feature/a",
        base="ab" * 20,
        state=WorktreeState.ACTIVE,
        landed=None,
        rescue_ref=None,
        created_at=clock.now,
        home_id=home_id,
    )


def _settings(session_id, clock, **changes) -> TeamSettings:
    usual = {"integration_branch": "integration", "undoing": "warn", "content_address": None}
    return TeamSettings(
        session_id=session_id,
        home_id="h_mine",
        machine="laptop",
        project="/p",
        agreed_at=clock.now,
        **usual | changes,
    )


def _document(path, version, clock, digest="0" * 64) -> DocumentVersion:
    return DocumentVersion(
        path=path, version=version, digest=digest, event_seq=version, created_at=clock.now
    )


class RecordsContract(StoreFixtures):
    """Artifacts and who was given them, worktrees, documents."""

    # --- artifacts ----------------------------------------------------------

    def test_artifacts_have_versions(self, store, session_id, clock):
        """The same title in one task is the next version; the same bytes are the same artifact."""
        task = store.plan(session_id, [draft("a")])[0]
        fields = {
            "kind": "notes",
            "media_type": "text/plain",
            "tags": ("x", "ä"),
            "metadata": {"k": [1]},
        }

        def save(digit, **changes):
            record = artifact("T", digit, **fields | changes)
            return _save(store, session_id, record, task_id=task.id)

        first = save("1")
        assert save("1") == first
        assert first.version == 1
        assert first.kind == "notes"
        assert first.media_type == "text/plain"
        assert first.tags == ("x", "ä")
        assert first.metadata == {"k": [1]}
        assert first.created_at == clock.now
        assert first.digest == "1" * 64
        assert first.size_bytes == 7
        second = save("2")
        assert second.version == 2
        assert second.supersedes_id == first.id
        assert store.find_artifact(first.id) == attrs.evolve(first, superseded=True)
        assert save("2", kind=ArtifactKind.FILE).version == 1
        events = store.events(kinds=[EventKind.ARTIFACT_SAVED])
        assert [event.data["artifact"] for event in events][:2] == [first.id, second.id]

    def test_artifacts_without_a_task_have_versions(self, store, session_id):
        """Those of one session are one lineage, apart from its tasks and other sessions."""
        task = store.plan(session_id, [draft("a")])[0]
        _save(store, session_id, artifact("T", "1"), task_id=task.id)
        first = _save(store, session_id, artifact("T", "2"))
        second = _save(store, session_id, artifact("T", "3"))
        elsewhere = _save(store, start_session(store), artifact("T", "4"))
        assert [first.version, second.version, elsewhere.version] == [1, 2, 1]
        assert second.supersedes_id == first.id
        assert first.task_id is None

    def test_artifacts_are_listed(self, store, session_id):
        """By session, task, kind, title; current ones or all; in either order; counted."""
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        old = _save(store, session_id, artifact("T", "1"), task_id=a.id)
        new = _save(store, session_id, artifact("T", "2"), task_id=a.id)
        synthesis = artifact("U", "3", kind=ArtifactKind.SYNTHESIS)
        third = _save(store, session_id, synthesis, task_id=b.id)
        loose = _save(store, session_id, artifact("T", "4"))
        elsewhere = _save(store, start_session(store), artifact())
        superseded = attrs.evolve(old, superseded=True)
        for query, expected in (
            (ArtifactQuery(session_id=session_id), [new, third, loose]),
            (
                ArtifactQuery(session_id=session_id, include_superseded=True),
                [superseded, new, third, loose],
            ),
            (ArtifactQuery(task_ids=(a.id, b.id)), [new, third]),
            (ArtifactQuery(task_ids=()), []),
            (ArtifactQuery(kind=ArtifactKind.SYNTHESIS), [third]),
            (ArtifactQuery(title="T", session_id=session_id), [new, loose]),
            (ArtifactQuery(limit=2, newest_first=True), [elsewhere, loose]),
        ):
            assert store.artifacts(query) == expected, query
        assert store.count_artifacts(session_id) == 3
        assert store.find_artifact("a_missing") is None

    def test_artifacts_are_chosen_by_what_describes_them(self, store, session_id, clock):
        """By agent, partial mark, tags, time and digest, alone and together.

        A tag is a whole word, whatever characters it holds.
        """
        one_tags = ("a", 'odd "tag", here', "[list]", "50%_x")
        two_tags = ("a", "lists", 'back\\slash"')
        one = _save(store, session_id, artifact("one", "1", tags=one_tags))
        clock.advance(1)
        partial = artifact("two", "2", tags=two_tags, partial=True)
        two = _save(store, session_id, partial, agent="bob")
        for query, expected in (
            (ArtifactQuery(agent="ada"), [one]),
            (ArtifactQuery(partial=False), [one]),
            (ArtifactQuery(partial=True), [two]),
            (ArtifactQuery(digest=one.digest), [one]),
            (ArtifactQuery(larger_than_bytes=one.size_bytes - 1), [one, two]),
            (ArtifactQuery(larger_than_bytes=one.size_bytes), []),
            (ArtifactQuery(created_after=two.created_at), [two]),
            (ArtifactQuery(created_before=two.created_at), [one]),
            (ArtifactQuery(tags=("a",)), [one, two]),
            (ArtifactQuery(tags=two_tags), [two]),
            (ArtifactQuery(tags=("a",), agent="ada", partial=True), []),
        ):
            assert store.artifacts(query) == expected, query
        for tag in one_tags[1:]:
            assert store.artifacts(ArtifactQuery(tags=("a", tag))) == [one], tag
        for part in ("tag", " here", "list", "odd", '"', "slash", ""):
            assert store.artifacts(ArtifactQuery(tags=(part,))) == [], part

    def test_every_content_that_is_referred_to_is_named(self, store, session_id, clock):
        """Older versions and documents included: what is missing here would be thrown away."""
        _save(store, session_id, artifact("same", "1"))
        _save(store, session_id, artifact("same", "2"))
        store.put_document(_document("docs/x.md", 1, clock, "3" * 64), session_id)
        assert store.content_digests() == {"1" * 64, "2" * 64, "3" * 64}

    # --- who was given what -------------------------------------------------

    def test_what_a_task_was_given_is_kept_once_an_attempt(self, store, session_id):
        """Versions of others' artifacts: not its own, and none that does not exist."""
        maker, user = store.plan(session_id, [draft("a"), draft("b")])
        first = _save(store, session_id, artifact("T", "1"), task_id=maker.id)
        own = _save(store, session_id, artifact("T", "2"), task_id=user.id)
        loose = _save(store, session_id, artifact("T", "3"))
        for _ in range(2):
            store.record_context(user.id, [first.id, own.id, loose.id, "a_missing"], agent="ada")
        (event,) = store.events(kinds=[EventKind.CONTEXT_GIVEN])
        assert event.task_id == user.id
        assert event.agent == "ada"
        assert event.data == {"attempt": 0, "artifacts": [first.id, loose.id]}
        uses = store.context_uses(task_id=user.id)
        assert [use.alias for use in uses] == ["b", "b"]
        assert [use.artifact_id for use in uses] == [first.id, loose.id]
        assert [use.version for use in uses] == [1, 1]
        assert [use.outdated for use in uses] == [False, False]
        assert store.context_uses(artifact_ids=[]) == []
        with pytest.raises(TaskNotFoundError):
            store.record_context("t_missing", [first.id], agent=None)

    def test_what_a_task_was_given_is_outdated_until_it_is_given_anew(self, store, session_id):
        """A newer version outdates it for a task that has begun."""
        maker, user = store.plan(session_id, [draft("a"), draft("b")])
        first = _save(store, session_id, artifact("T", "1"), task_id=maker.id)
        loose = _save(store, session_id, artifact("T", "3"))
        store.record_context(user.id, [first.id, loose.id], agent="ada")
        second = _save(store, session_id, artifact("T", "4"), task_id=maker.id)
        assert store.context_uses(outdated=True) == []  # the task has not begun
        store.claim(session_id, "ada", task_id=user.id, lease_s=60)
        (outdated,) = store.context_uses(session_id=session_id, outdated=True, limit=5)
        assert outdated.artifact_id == first.id
        assert outdated.latest_id == second.id
        assert outdated.latest_version == 2
        assert store.context_uses(artifact_ids=[first.id]) == [outdated]
        assert store.context_uses(session_id=start_session(store)) == []
        store.record_context(user.id, [second.id, loose.id], agent="ada")
        assert store.context_uses(outdated=True) == []
        uses = store.context_uses()
        assert {use.artifact_id for use in uses} == {loose.id, second.id}
        assert {use.attempt for use in uses} == {1}

    # --- what has taken another's place --------------------------------------

    def test_an_artifact_takes_the_place_of_others(self, store, session_id):
        """Of any title, task and session, in the same transaction; each is told in the log."""
        a, b = store.plan(session_id, [draft("a"), draft("b")])
        old = _save(store, session_id, artifact("Old", "1"), task_id=a.id)
        elsewhere = _save(store, start_session(store), artifact("Far", "2"))
        names = (old.id, elsewhere.id, old.id)
        new = _save(store, session_id, artifact("New", "3", supersedes=names), task_id=b.id)
        for earlier in (old, elsewhere):
            gone = attrs.evolve(earlier, superseded=True, superseded_by=new.id)
            assert store.find_artifact(earlier.id) == gone
        assert store.artifacts(ArtifactQuery()) == [new]
        assert (new.supersedes_id, new.superseded_by) == (None, None)
        events = store.events(kinds=[EventKind.ARTIFACT_SUPERSEDED])
        told = {(event.session_id, event.task_id, event.data["artifact"]) for event in events}
        assert told == {(old.session_id, a.id, old.id), (elsewhere.session_id, None, elsewhere.id)}
        assert {event.data["by"] for event in events} == {new.id}

    def test_what_holds_of_the_work_of_tasks(self, store, session_id):
        """What has taken a place stands for it, from whatever task; earlier versions do not."""
        a, b, _ = store.plan(session_id, [draft("a"), draft("b"), draft("c")])
        _save(store, session_id, artifact("Plan", "1"), task_id=a.id)
        plan = _save(store, session_id, artifact("Plan", "2"), task_id=a.id)
        notes = _save(store, session_id, artifact("Notes", "3"), task_id=a.id)
        sketch = _save(store, session_id, artifact("Sketch", "4"), task_id=b.id)
        names = (notes.id, sketch.id)
        _save(store, session_id, artifact("Review", "5", supersedes=names))
        review = _save(store, session_id, artifact("Review", "6"))
        own = TaskArtifact(task_id=a.id, artifact=plan)
        in_place = [
            TaskArtifact(
                task_id=str(saved.task_id),
                artifact=review,
                replaces=store.find_artifact(saved.id),
            )
            for saved in (notes, sketch)
        ]
        assert store.task_artifacts([a.id, b.id]) == [own, *in_place]
        assert store.task_artifacts([]) == []

    def test_any_version_stands_for_the_artifact(self, store, session_id):
        """The latest is superseded; one that is saved afterwards holds again."""
        first = _save(store, session_id, artifact("Old", "1"))
        second = _save(store, session_id, artifact("Old", "2"))
        new = _save(store, session_id, artifact("New", "3", supersedes=(first.id,)))
        assert store.find_artifact(first.id).superseded_by is None
        assert store.find_artifact(second.id).superseded_by == new.id
        third = _save(store, session_id, artifact("Old", "4"))
        assert store.artifacts(ArtifactQuery()) == [new, third]

    def test_to_supersede_again_changes_nothing(self, store, session_id):
        """The same bytes, a new version, and its own earlier versions: nothing is written twice."""
        old = _save(store, session_id, artifact("Old", "1"))
        new = _save(store, session_id, artifact("New", "2", supersedes=(old.id,)))
        last_seq = store.last_seq()
        assert _save(store, session_id, artifact("New", "2", supersedes=(old.id,))) == new
        assert store.last_seq() == last_seq
        again = artifact("New", "3", supersedes=(old.id, new.id))
        newer = _save(store, session_id, again)
        assert newer.version == 2
        assert store.find_artifact(old.id).superseded_by == new.id
        assert store.find_artifact(new.id).superseded_by is None
        assert len(store.events(kinds=[EventKind.ARTIFACT_SUPERSEDED])) == 1

    def test_the_same_bytes_may_supersede_more(self, store, session_id):
        """The version that is there takes the further place."""
        old = _save(store, session_id, artifact("Old", "1"))
        new = _save(store, session_id, artifact("New", "2"))
        assert _save(store, session_id, artifact("New", "2", supersedes=(old.id,))) == new
        assert store.find_artifact(old.id).superseded_by == new.id

    def test_two_artifacts_do_not_supersede_each_other(self, store, session_id):
        """What takes its place back becomes a new version: there is always one that holds."""
        one = _save(store, session_id, artifact("One", "1"))
        two = _save(store, session_id, artifact("Two", "2", supersedes=(one.id,)))
        back = _save(store, session_id, artifact("One", "1", supersedes=(two.id,)))
        assert back.version == 2
        assert store.artifacts(ArtifactQuery()) == [back]
        assert store.find_artifact(two.id).superseded_by == back.id
        store.record_context(store.plan(session_id, [draft("a")])[0].id, [one.id], agent="ada")
        (use,) = store.context_uses()
        assert use.latest_id == back.id

    def test_nothing_supersedes_what_something_else_has_superseded(self, store, session_id):
        """Nor what does not exist. Nothing is written, and the error names what holds now."""
        old = _save(store, session_id, artifact("Old", "1"))
        by = _save(store, session_id, artifact("By", "2", supersedes=(old.id,)))
        newer = _save(store, session_id, artifact("By", "3"))
        last_seq = store.last_seq()
        with pytest.raises(ArtifactSupersededError) as caught:
            _save(store, session_id, artifact("Other", "4", supersedes=(old.id,)))
        assert (caught.value.artifact, caught.value.by, caught.value.title) == (
            old.id,
            newer.id,
            "By",
        )
        with pytest.raises(ArtifactNotFoundError):
            _save(store, session_id, artifact("Other", "4", supersedes=("a_missing",)))
        assert store.last_seq() == last_seq
        assert store.find_artifact(by.id).superseded_by is None

    def test_what_is_partial_supersedes_nothing(self, store, session_id):
        """Not even what does not exist: partial work is kept whatever it names."""
        old = _save(store, session_id, artifact("Old", "1"))
        names = (old.id, "a_missing")
        _save(store, session_id, artifact("New", "2", supersedes=names, partial=True))
        assert not store.find_artifact(old.id).superseded

    def test_who_was_given_what_is_superseded_is_told(self, store, session_id):
        """Until it is given what holds now, however many steps lie between."""
        (user,) = store.plan(session_id, [draft("a")])
        old = _save(store, session_id, artifact("Old", "1"))
        store.record_context(user.id, [old.id], agent="ada")
        store.claim(session_id, "ada", task_id=user.id, lease_s=60)
        middle = _save(store, session_id, artifact("Middle", "2", supersedes=(old.id,)))
        _save(store, session_id, artifact("New", "3", supersedes=(middle.id,)))
        last = _save(store, session_id, artifact("New", "4"))
        (outdated,) = store.context_uses(outdated=True)
        assert (outdated.artifact_id, outdated.latest_id) == (old.id, last.id)
        assert (outdated.latest_version, outdated.latest_title) == (2, "New")
        assert outdated.outdated
        store.record_context(user.id, [last.id], agent="ada")
        assert store.context_uses(outdated=True) == []
        assert [use.artifact_id for use in store.context_uses()] == [last.id]

    # --- forgetting ----------------------------------------------------------

    def test_a_forgotten_artifact_leaves_a_tombstone(self, store, session_id, clock):
        """Nothing of what it said: neither its record nor its title in the log."""
        maker, user = store.plan(session_id, [draft("a"), draft("b")])
        saved = _save(store, session_id, artifact("Secret", "1", tags=("x",)), task_id=maker.id)
        other = _save(store, session_id, artifact("Other", "2"))
        store.record_context(user.id, [saved.id, other.id], agent="ada")
        clock.advance(60)
        (stone,) = store.forget_artifacts([saved.id], reason="asked", agent="bob")
        assert (stone.id, stone.session_id, stone.task_id) == (saved.id, session_id, maker.id)
        assert (stone.version, stone.reason, stone.agent) == (1, "asked", "bob")
        assert (stone.saved_at, stone.forgotten_at) == (saved.created_at, clock.now)
        assert (stone.digest, stone.home_id, stone.is_pending) == (saved.digest, "", True)
        assert store.find_artifact(saved.id) is None
        assert store.artifacts(ArtifactQuery()) == [other]
        assert store.content_digests() == {other.digest}
        assert [use.artifact_id for use in store.context_uses()] == [other.id]
        titles = [event.data["title"] for event in store.events(kinds=[EventKind.ARTIFACT_SAVED])]
        assert titles == ["(forgotten)", "Other"]
        (event,) = store.events(kinds=[EventKind.ARTIFACT_FORGOTTEN])
        assert (event.session_id, event.task_id, event.agent) == (session_id, maker.id, "bob")
        assert event.data == {
            "artifact": saved.id,
            "version": 1,
            "reason": "asked",
            "given_to": [user.id],
        }
        last_seq = store.last_seq()
        assert store.forget_artifacts([saved.id], reason="again", agent="ada") == [stone]
        assert store.last_seq() == last_seq

    def test_forgetting_is_whole_or_not_at_all(self, store, session_id):
        """An unknown id among others: nothing was changed."""
        saved = _save(store, session_id, artifact("Secret", "1"))
        last_seq = store.last_seq()
        with pytest.raises(ArtifactNotFoundError):
            store.forget_artifacts([saved.id, "a_missing"], reason="", agent=None)
        assert store.find_artifact(saved.id) == saved
        assert (store.last_seq(), store.tombstones()) == (last_seq, [])

    def test_a_tombstone_is_pending_until_all_is_gone(self, store, session_id):
        """First what was made from it goes, then the bytes; the digest goes with these."""
        ids = [_save(store, session_id, artifact(f"T{n}", str(n))).id for n in (1, 2)]
        stones = store.forget_artifacts(ids, reason="", agent=None)
        assert store.tombstones(pending=True) == stones
        proof = {"removed": {"records": 2}, "remainders": []}
        store.complete_forgetting(ids, proof, whole=False)
        assert [each.is_pending for each in store.tombstones(ids=ids)] == [True, True]
        store.complete_forgetting(ids[:1], proof, whole=True)
        assert [each.id for each in store.tombstones(pending=True)] == ids[1:]
        (done,) = store.tombstones(ids=ids[:1])
        assert (done.digest, done.proof, done.is_pending) == (None, proof, False)

    def test_versions_close_up_where_one_is_forgotten(self, store, session_id):
        """The next one follows the one before; without a next one, that one holds again."""
        one, two, three = (
            _save(store, session_id, artifact("T", str(number))) for number in (1, 2, 3)
        )
        (user,) = store.plan(session_id, [draft("a")])
        store.record_context(user.id, [one.id], agent="ada")
        store.forget_artifacts([two.id], reason="", agent=None)
        assert store.find_artifact(three.id).supersedes_id == one.id
        assert store.find_artifact(one.id).superseded
        store.forget_artifacts([three.id], reason="", agent=None)
        assert store.artifacts(ArtifactQuery()) == [one]
        (use,) = store.context_uses()
        assert not use.outdated
        four = _save(store, session_id, artifact("T", "4"))
        assert (four.version, four.supersedes_id) == (2, one.id)

    def test_what_a_forgotten_artifact_superseded_stays_superseded(self, store, session_id):
        """And what has superseded it supersedes the version before."""
        wrong = _save(store, session_id, artifact("Wrong", "1"))
        first = _save(store, session_id, artifact("T", "2", supersedes=(wrong.id,)))
        second = _save(store, session_id, artifact("T", "3"))
        last = _save(store, session_id, artifact("Last", "4", supersedes=(second.id,)))
        store.forget_artifacts([second.id], reason="", agent=None)
        assert store.find_artifact(first.id).superseded_by == last.id
        store.forget_artifacts([first.id], reason="", agent=None)
        assert store.find_artifact(wrong.id).superseded
        assert store.artifacts(ArtifactQuery()) == [last]
        again = _save(store, session_id, artifact("Right", "5", supersedes=(wrong.id,)))
        assert store.find_artifact(wrong.id).superseded_by == again.id

    # --- worktrees -----------------------------------------------------------

    def test_worktrees_are_recorded(self, store, session_id, clock):
        """One record per name, replaced as it goes along; removed ones only on demand."""
        task = store.plan(session_id, [draft("a")])[0]
        one = _worktree(session_id, clock, task_id=task.id)
        a_second_later = clock.now + timedelta(seconds=1)
        two = attrs.evolve(one, name="two", task_id=None, created_at=a_second_later)
        assert store.put_worktree(one, EventKind.WORKTREE_CREATED) == one
        assert store.put_worktree(two, EventKind.WORKTREE_CREATED) == two
        removed = attrs.evolve(
            one,
            state=WorktreeState.REMOVED,
            landed="cd" * 20,
            rescue_ref="refs/x",
            unlanded=True,
        )
        store.put_worktree(removed, EventKind.WORKTREE_REMOVED)
        assert store.worktrees() == [two]
        assert store.worktrees(include_removed=True) == [removed, two]
        assert store.worktrees(task_id=task.id, include_removed=True) == [removed]
        assert store.worktrees(session_id=session_id, include_removed=True) == [removed, two]
        assert store.worktrees(name="two") == [two]
        assert kinds(store)[-1] == EventKind.WORKTREE_REMOVED

    def test_a_worktree_names_what_was_saved_last(self, store, session_id, clock):
        """By its attempts as they save, hand back and fail, and by whoever saves after them."""
        task = store.plan(session_id, [draft("a")])[0]
        one = _worktree(session_id, clock, task_id=task.id, name="one")
        store.put_worktree(one, EventKind.WORKTREE_CREATED)
        store.claim(session_id, "ada", task_id=task.id, lease_s=60)
        commits = iter(f"{number:040x}" for number in range(9))

        def assert_saved(save):
            commit = next(commits)
            save(commit)
            assert store.worktrees()[0].saved == commit

        def checkpoint(commit):
            store.checkpoint(task.id, 1, {}, snapshot=commit, lease_s=60)

        def fail(commit):
            ending = Ending(action=NextAction.BLOCKED, reason="no", snapshot=commit)
            store.finish(task.id, 1, ending, agent="ada")

        checkpoint(next(commits))  # it works in no worktree yet
        assert store.worktrees()[0].saved is None
        store.update_task(task.id, {"worktree": "one"})
        assert_saved(checkpoint)
        assert_saved(lambda commit: store.renew(task.id, 1, lease_s=60, snapshot=commit))
        assert_saved(fail)
        assert_saved(lambda commit: store.note_saved("one", commit))
        store.note_saved("none", next(commits))

    def test_a_document_version_names_what_a_person_edited(self, store, session_id, clock):
        """The sections come back as they were recorded; by default there are none."""
        plain = _document("a.md", 1, clock)
        edited = attrs.evolve(plain, version=2, edited=("changelog", "see_also"), home_id="h_mine")
        for version in (plain, edited):
            store.put_document(version, session_id)
        assert store.document_versions("a.md") == [plain, edited]
        assert plain.edited == ()

    def test_a_worktree_s_name_is_nobody_else_s(self, store, other, session_id, clock):
        """Neither another home nor another task replaces the record; of the past, anybody does."""
        one, two = store.plan(session_id, [draft("a"), draft("b")])
        mine = _worktree(session_id, clock, task_id=one.id, home_id="h_mine")
        store.put_worktree(mine, EventKind.WORKTREE_CREATED)
        last_seq = store.last_seq()
        for changes in ({"home_id": "h_other"}, {"task_id": two.id}, {"task_id": None}):
            with pytest.raises(WorktreeNameTakenError) as caught:
                other.put_worktree(attrs.evolve(mine, **changes), EventKind.WORKTREE_CREATED)
            assert caught.value.worktree == mine.name
        assert store.worktrees() == [mine]
        assert store.last_seq() == last_seq
        nobody_s = _worktree(session_id, clock, task_id=two.id, name="old")
        store.put_worktree(nobody_s, EventKind.WORKTREE_CREATED)
        claimed = attrs.evolve(nobody_s, home_id="h_other")
        assert other.put_worktree(claimed, EventKind.WORKTREE_MOVED) == claimed
        assert store.worktrees(name="old") == [claimed]

    # --- homes ---------------------------------------------------------------

    def test_an_artifact_names_the_home_that_has_its_bytes(self, store, other, session_id):
        """The home comes back as it was noted last; one that nobody noted is not there."""
        saved = _save(store, session_id, artifact("T", "1", home_id="h_one"))
        assert other.find_artifact(saved.id).home_id == saved.home_id == "h_one"
        assert _save(store, session_id, artifact("T", "2")).home_id == ""
        assert store.find_home("h_one") is None
        first = HomePlace(id="h_one", machine="desk", path="/a/.task_orchestrator")
        last_seq = store.last_seq()
        store.note_home(first)
        assert other.find_home("h_one") == first
        moved = attrs.evolve(first, path="/b/.task_orchestrator")
        other.note_home(moved)
        assert store.find_home("h_one") == moved
        assert store.last_seq() == last_seq

    def test_a_default_agent_name_is_one_home_s(self, store, other):
        """Each home keeps its own, also where people and machines are called alike."""
        assert store.default_agent("ada@desk", "h_one", reserve=False) == "ada@desk"
        assert other.default_agent("ada@desk", "h_two", reserve=True) == "ada@desk"
        assert store.default_agent("ada@desk", "h_one", reserve=True) == "ada@desk-2"
        assert store.default_agent("ada@desk", "h_six", reserve=False) == "ada@desk-3"
        assert store.default_agent("ada@lamp", "h_one", reserve=True) == "ada@lamp"
        assert other.default_agent("ada@desk", "h_one", reserve=True) == "ada@desk-2"
        assert store.default_agent("ada@desk", "h_two", reserve=False) == "ada@desk"

    # --- what the homes of a session have agreed on --------------------------

    def test_the_first_home_decides_the_settings(self, store, other, session_id, clock):
        """Others get what counts; replacing is said; another session has settings of its own."""
        assert store.team_settings(session_id) is None
        mine = _settings(session_id, clock, landing_check=("pytest", "-q"))
        theirs = attrs.evolve(mine, home_id="h_other", landing_check=None, content_address="s3://x")
        assert store.agree_settings(mine, replace=False) == mine
        clock.advance(hours=1)
        last_seq = store.last_seq()
        assert other.agree_settings(theirs, replace=False) == mine
        assert store.last_seq() == last_seq
        changed = attrs.evolve(theirs, agreed_at=clock.now)
        assert other.agree_settings(theirs, replace=True) == changed
        assert store.team_settings(session_id) == changed
        agreed = store.events(kinds=[EventKind.SETTINGS_AGREED])
        assert [event.data["check"] for event in agreed] == [["pytest", "-q"], None]
        assert [event.session_id for event in agreed] == [session_id] * 2
        assert store.team_settings(start_session(store)) is None
        fresh = attrs.evolve(store.find_session(session_id), id=new_id("s"))
        store.start_session(fresh, settings=attrs.evolve(theirs, session_id=fresh.id))
        assert kinds(store)[-1] == EventKind.SESSION_STARTED
        assert other.team_settings(fresh.id).content_address == "s3://x"
        with pytest.raises(SessionNotFoundError):
            store.agree_settings(attrs.evolve(mine, session_id="s_missing"), replace=False)

    # --- documents -----------------------------------------------------------

    def test_document_versions_are_recorded(self, store, session_id, clock):
        """All of one document, or the latest of each."""
        versions = [
            _document(path, version, clock) for path in ("b.md", "a.md") for version in (1, 2)
        ]
        for version in versions:
            assert store.put_document(version, session_id) == version
        assert store.document_versions("b.md") == versions[:2]
        assert store.document_versions() == [versions[3], versions[1]]
        assert kinds(store)[-1] == EventKind.DOCUMENT_UPDATED
