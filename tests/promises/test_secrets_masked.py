"""Keys and passwords stay in the record, and reach no prompt, no document and no commit."""

from __future__ import annotations

import pytest

import vespera_orchestrator as vespera
from support.git_project import git, make_repository
from vespera_orchestrator.integrations.tools import Toolbox

KEY = "ghp_aB3dE5gH7jK9mN1pQ3sT5vX7zA9cE1gH3jK5"
PASSWORD = "correct horse"
IN_AN_ADDRESS = "s3cr3t"
COMMIT = "3f786850e387550fdab836ed7e6dc881de23001b"
WORK = f"""# Decisions

The server is postgresql://app:{IN_AN_ADDRESS}@db/app since {COMMIT}, and the key is {KEY}.

## Method

{{"password": "{PASSWORD}"}}
"""


@pytest.fixture(scope="module")
def orch(tmp_path_factory):
    """A project in which keys and passwords stand wherever somebody can write."""
    folder = make_repository(tmp_path_factory.mktemp("secrets") / "project", {"a.txt": "one\n"})
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.org")
    with vespera.open(folder, embedder="none") as orch:
        orch.initialize_session(f"Goal {KEY}", project_type="software_development")
        orch.share_context(db_password=PASSWORD, note=f"key {KEY}")
        orch.plan_task(f"First {KEY}", f"Use {KEY}", alias="first", context={"password": PASSWORD})
        orch.plan_task("Second", alias="second", dependencies=["first"])
        work = orch.execute_task("first", worktree=True)
        (work.path / "code.py").write_text("x = 1\n")
        work.checkpoint({"password": PASSWORD, "key": KEY}, f"note {KEY}")
        work.complete(
            summary=f"Done with {KEY}", detailed_work=WORK, outputs={"password": PASSWORD, "k": KEY}
        )
        orch.execute_task("second")
        yield orch


def secrets_in(text):
    """Return which of the secrets a text gives away, or the beginning of one."""
    return [secret for secret in (KEY[:12], PASSWORD, IN_AN_ADDRESS) if secret in text]


def test_nothing_that_people_and_agents_read_has_a_secret(orch):
    """Whatever shows the state, the context or the way back in."""
    work = orch.work("second")
    context = orch.spawn_agent_with_context("second")
    texts = [work.briefing(), work.briefing(400), work.briefing(150), context.prompt()]
    texts += [
        str(orch.resume()),
        str(orch.get_status(include_completed=True)),
        str(orch.next_step()),
    ]
    texts += [str(orch.why("second")), str(orch.get_task("first")), str(orch.current_session())]
    texts += [str(orch.artifacts.context("decisions", task="second")), str(orch.shared_context())]
    texts += [str(orch.artifacts.show(each)) for each in orch.artifacts.list()]
    texts += [str(orch.ready_tasks())]
    texts += [orch.graph().to_mermaid(), orch.graph().to_dot()]
    texts += [str(event) for event in orch.watch(0, timeout_s=0)]
    assert [secrets_in(text) for text in texts] == [[]] * len(texts)
    assert "[masked: github-token]" in texts[0]
    assert COMMIT in texts[0], "a commit is no secret"


def test_no_document_and_no_commit_has_a_secret(orch):
    """They are published; the update says what it left out, and of which artifact."""
    report = orch.documents.update(dry_run=True)
    log = git(orch.project, "log", "--all", "-p")
    assert "+++ b/docs/CHANGELOG.md" in log
    assert "masked: github-token" in log.partition("+++ b/docs/CHANGELOG.md")[2]
    assert secrets_in(log) == []
    artifact = orch.artifacts.list(kind="general")[0]
    assert f"artifact {artifact.id} holds what looks like a secret" in str(report)


def test_no_answer_of_a_tool_has_a_secret(orch):
    """Text and data, lists and single records, and an artifact read page by page."""
    tools = Toolbox(orch, include="all")
    artifact = orch.artifacts.list(kind="general")[0].id
    calls = {
        "get_task": {"task": "first"},
        "query_tasks": {},
        "get_status": {"include_completed": True},
        "resume": {},
        "read_artifact": {"artifact": artifact},
        "list_artifacts": {},
        "shared_context": {},
        "spawn_agent_with_context": {"task": "second"},
        "work": {"task": "second"},
    }
    answers = {name: tools.answer(name, arguments) for name, arguments in calls.items()}
    assert [name for name, answer in answers.items() if answer.is_error] == []
    assert {name: secrets_in(str(answer)) for name, answer in answers.items()} == {
        name: [] for name in calls
    }


def test_the_record_keeps_the_bytes(orch):
    """For programs nothing is masked: outputs, shared values, bytes and text are as they were."""
    artifact = orch.artifacts.list(kind="general")[0]
    assert orch.artifacts.read(artifact) == WORK.encode()
    assert orch.artifacts.text(artifact) == WORK
    assert orch.get_task("first").outputs == {"password": PASSWORD, "k": KEY}
    assert orch.get_task("first").to_dict()["outputs"]["password"] == PASSWORD
    assert orch.shared_context()["db_password"] == PASSWORD


def test_a_briefing_names_the_artifact(orch):
    """Whoever reads it knows where the key is that has to be replaced."""
    artifact = orch.artifacts.list(kind="general")[0]
    briefing = orch.work("second").briefing()
    [line] = [line for line in briefing.splitlines() if "secrets masked here" in line]
    assert artifact.id in line
    assert "password-in-an-address" in line


def test_a_password_of_the_server_reaches_no_model():
    """What a child needs to join is in the answer, without it: libpq finds it elsewhere."""
    from vespera_orchestrator.stores.sql.address import without_password

    assert without_password("postgresql://a:pw@h/d?schema=x") == "postgresql://a@h/d?schema=x"
    assert without_password("postgresql://a@h/d?password=pw&x=1") == "postgresql://a@h/d?x=1"
    assert without_password("postgresql://a@h/d?password=pw") == "postgresql://a@h/d"
    assert without_password("sqlite:///folder/a.db") == "sqlite:///folder/a.db"
