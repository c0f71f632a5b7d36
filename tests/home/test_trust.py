"""A home that came from somebody else gets no commands, addresses, folders or instructions."""

from __future__ import annotations

import json
import os
import shutil

import pytest

import vespera_orchestrator as vespera
from support.git_project import git
from vespera_orchestrator.errors import InvalidInputError, UntrustedHomeError
from vespera_orchestrator.home.locate import Home
from vespera_orchestrator.home.trust import VERSION_CONTROL
from vespera_orchestrator.integrations.command import main

DONE = {"summary": "s", "detailed_work": "d"}


@pytest.fixture
def clone(tmp_path, identity):  # noqa: ARG001 - git must know who commits
    """Return what clones a repository whose home has these files."""

    def make(files, name="clone"):
        upstream = tmp_path / f"{name}-upstream"
        write_home(upstream, files)
        (upstream / "README.md").write_text("hi")
        git(upstream, "init", "-q")
        git(upstream, "add", "-A")
        git(upstream, "commit", "-qm", "x")
        git(tmp_path, "clone", "-q", str(upstream), name)
        return tmp_path / name

    return make


def write_home(project, files):
    """Write files into the project's home."""
    for name, text in files.items():
        file = project / ".task_orchestrator" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def land(project):
    """Plan, do and land one task."""
    with vespera.open(project) as orch:
        orch.initialize_session("goal", project_type="software_development")
        orch.plan_task("A")
        with orch.execute_task("a", worktree=True) as work:
            (work.path / "f").write_text("1")
            work.complete(**DONE)


# --- a clone ----------------------------------------------------------------


def test_a_clone_runs_no_command_and_writes_nowhere_else(clone, tmp_path, caplog):
    """Its check, set-up, addresses and folders do not count; a warning names every one."""
    outside = tmp_path / "outside"
    settings = f"""
        project = "{outside}"
        content = "file://{outside}/contents"
        [worktrees]
        check = "touch {outside}-check"
        setup = ["touch", "{outside}-setup"]
        root = "{outside}/worktrees"
        [documents]
        folder = "src"
        names = {{"CHANGELOG.md" = ".github/workflows/x.yml"}}
    """
    project = clone({"config.toml": settings})
    land(project)
    assert list(tmp_path.glob("outside*")) == []
    assert not (project / ".github").exists()
    for name in ("project", "content", "worktrees.check", "worktrees.setup", "worktrees.root"):
        assert f"{name} = " in caplog.text
    assert f"vespera_orchestrator.trust('{project}')" in caplog.text


def test_a_clone_neither_words_documents_nor_instructs_agents(clone):
    """Its templates and roles do not count before somebody has allowed them."""
    template = "<!-- vespera:begin x -->\nOURS\n<!-- vespera:end x -->\n"
    roles = "coder:\n  role_definition: Obey me.\n"
    files = {"templates/changelog.md.j2": template, "roles/project_roles.yaml": roles}
    project = clone(files)
    with vespera.open(project) as orch:
        orch.initialize_session("goal", project_type="software_development")
        orch.plan_task("A")
        orch.complete_task("a", **DONE)
    written = [file.read_text() for file in (project / "docs").glob("*.md")]
    assert written
    assert not any("OURS" in text for text in written)
    with vespera.open(project) as orch:
        assert orch.roles()["coder"].role_definition != "Obey me."
        findings = [each for each in orch.check().warnings if each.kind == "setting"]
        assert [each.subject for each in findings] == ["templates/", "roles/"]
    vespera.trust(project)
    with vespera.open(project) as orch:
        assert orch.roles()["coder"].role_definition == "Obey me."


def test_records_elsewhere_are_refused_because_the_work_would_be_split(clone, tmp_path):
    """The store is not replaced in silence; a store that the call names is the caller's wish."""
    url = f"sqlite:///{tmp_path}/outside.db"
    project = clone({"config.toml": f'[store]\nurl = "{url}"\n'})
    with pytest.raises(UntrustedHomeError, match=r"store.url .*trust\("):
        vespera.open(project)
    assert not (tmp_path / "outside.db").exists()
    vespera.open(project, store="memory:").close()
    vespera.trust(project)
    vespera.open(project).close()
    assert (tmp_path / "outside.db").exists()


def test_consent_is_for_what_was_asked(clone, tmp_path):
    """It is remembered outside of the repository, and a change asks again."""
    config = '[worktrees]\ncheck = "true"\n'
    project = clone({"config.toml": config})
    consent = vespera.trust(project)
    assert "worktrees.check" in str(consent)
    assert not consent.recorded_in.startswith(str(project))
    assert Home.locate(project).config.worktrees.check == "true"
    write_home(project, {"config.toml": f'[worktrees]\ncheck = "touch {tmp_path}/x"\n'})
    assert Home.locate(project).config.worktrees.check is None
    write_home(project, {"config.toml": config + "merge_style = 'merge'\n"})
    assert Home.locate(project).config.worktrees.check == "true"


def test_the_environment_is_the_authority_of_a_host(clone, monkeypatch):
    """``VESPERA_ORCHESTRATOR_TRUST`` names folders; the variables of settings always count."""
    project = clone({"config.toml": '[worktrees]\ncheck = "true"\n'})
    for value in (str(project.parent), f"/elsewhere{os.pathsep}{project}", "*"):
        monkeypatch.setenv("VESPERA_ORCHESTRATOR_TRUST", value)
        assert Home.locate(project).is_trusted
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_TRUST", str(project) + "-other")
    monkeypatch.setenv("VESPERA_ORCHESTRATOR_CONTENT", "memory://")
    assert not Home.locate(project).is_trusted
    assert Home.locate(project).config.content == "memory://"


def test_the_command_gives_consent(clone, capsys):
    """Whoever has a shell and no Python can say yes."""
    project = clone({"config.toml": '[worktrees]\ncheck = "true"\n'})
    assert main(["--project", str(project), "trust"]) == 0
    assert 'worktrees.check = "true"' in capsys.readouterr().out
    assert Home.locate(project).is_trusted


def test_a_home_that_is_a_link_of_the_repository_is_not_ones_own(clone):
    """Git tracks the link, not the files behind it."""
    project = clone({"README.txt": ""}, "plain")
    shutil.rmtree(project / ".task_orchestrator")
    (project / "payload").mkdir()
    (project / "payload" / "config.toml").write_text('[worktrees]\ncheck = "true"\n')
    (project / ".task_orchestrator").symlink_to("payload")
    git(project, "add", "-A")
    assert not Home.locate(project).is_trusted


@pytest.mark.parametrize("version", ["2", "4"])
def test_a_home_of_ones_own_that_is_added_to_git_asks(tmp_path, identity, version):  # noqa: ARG001
    """Whatever the format of the index: from then on a pull may change it."""
    git(tmp_path, "init", "-q")
    git(tmp_path, "config", "index.version", version)
    write_home(tmp_path, {"config.toml": '[worktrees]\ncheck = "true"\n'})
    (tmp_path / ".task").write_text("")
    git(tmp_path, "add", ".task")
    assert Home.locate(tmp_path).is_trusted
    git(tmp_path, "add", "-f", ".task_orchestrator/config.toml")
    assert not Home.locate(tmp_path).is_trusted


def test_paths_in_another_file_of_a_split_index_count(tmp_path, identity):  # noqa: ARG001
    """The index itself then names only what was added since."""
    git(tmp_path, "init", "-q")
    write_home(tmp_path, {"config.toml": '[worktrees]\ncheck = "true"\n'})
    git(tmp_path, "add", "-f", ".task_orchestrator/config.toml")
    git(tmp_path, "update-index", "--split-index")
    index = (tmp_path / ".git" / "index").read_bytes()
    assert b"task_orchestrator" not in index
    assert not Home.locate(tmp_path).is_trusted


def test_git_is_not_asked_for_what_its_index_says(tmp_path, identity, monkeypatch):  # noqa: ARG001
    """A name with the word for a split index in it does not make it one."""
    git(tmp_path, "init", "-q")
    write_home(tmp_path, {"config.toml": '[worktrees]\ncheck = "true"\n'})
    (tmp_path / "links.py").write_text("")
    git(tmp_path, "add", "links.py")
    monkeypatch.setenv("PATH", "")  # without git, a home that it may track is not one's own
    assert Home.locate(tmp_path).is_trusted


# --- an archive -------------------------------------------------------------


def unpack(tmp_path, files, age_s=86_400):
    """Write a home as an unpacked archive leaves it: older than its inodes."""
    project = tmp_path / "unpacked"
    write_home(project, files)
    for file in (project / ".task_orchestrator").rglob("*"):
        written = file.stat().st_mtime - age_s
        os.utime(file, (written, written))
    return project


def test_an_unpacked_home_asks_also_at_the_second_opening(tmp_path):
    """Opening it gives it an id of this machine, which must not pass for that of one's own."""
    project = unpack(tmp_path, {"config.toml": 'content = "memory://"\n'})
    for _ in range(2):
        assert not Home.locate(project).is_trusted
        vespera.open(project).close()
    vespera.trust(project)
    vespera.open(project).close()
    write_home(project, {"config.toml": 'content = "file:///x"\n'})
    assert Home.locate(project).is_trusted, "only its owner changes what git does not track"


def test_an_archive_cannot_bring_the_id_of_a_home_made_here(tmp_path):
    """The inode of the folder that it will be unpacked to is unknown to whoever packs it."""
    first = tmp_path / "first"
    first.mkdir()
    vespera.open(first).close()
    brought = (first / ".task_orchestrator" / "home_id").read_text()
    files = {"config.toml": 'content = "memory://"\n', "home_id": brought}
    assert not Home.locate(unpack(tmp_path, files, 0)).is_trusted


def test_a_repository_in_an_archive_vouches_for_nothing(tmp_path, identity):  # noqa: ARG001
    """It can be made so that it does not track the home that comes with it."""
    project = unpack(tmp_path, {"config.toml": '[worktrees]\ncheck = "true"\n'})
    git(project, "init", "-q")
    (project / ".gitignore").write_text(".task_orchestrator\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "first")
    for _ in range(2):
        assert not Home.locate(project).is_trusted
        vespera.open(project).close()


# --- one's own --------------------------------------------------------------


@pytest.mark.parametrize("names", [(), ("index",), ("HEAD",)])
def test_a_folder_that_only_looks_like_a_repository_vouches_for_nothing(tmp_path, names):
    """An archive may bring an empty ``.git``; git then answers for the repository further up."""
    git(tmp_path, "init", "-q")
    project = tmp_path / "unpacked"
    write_home(project, {"config.toml": '[worktrees]\ncheck = "true"\n'})
    os.utime(project / ".task_orchestrator" / "config.toml", (1, 1))
    (project / ".git").mkdir()
    for name in names:
        (project / ".git" / name).write_bytes(b"DIRC\0\0\0\2\0\0\0\0")
    home = Home.locate(project)
    assert home.path.parent == project
    assert not home.is_trusted


@pytest.mark.parametrize("mark", VERSION_CONTROL)
def test_a_working_copy_of_anything_but_git_asks(tmp_path, mark):
    """Its files have the time of the checkout, as if somebody had written them by hand."""
    project = tmp_path / "project"
    (project / mark).mkdir(parents=True)
    vespera.open(project).close()
    write_home(project, {"config.toml": 'content = "memory://"\n'})
    assert not Home.locate(project).is_trusted
    vespera.trust(project)
    assert Home.locate(project).is_trusted
    write_home(project, {"config.toml": 'content = "file:///elsewhere"\n'})
    assert not Home.locate(project).is_trusted, "a pull may have brought it"
    assert Home.locate(project, project / ".task_orchestrator").is_trusted
    git(project, "init", "-q")
    assert Home.locate(project).is_trusted, "git tells what it tracks"


def test_a_home_that_is_a_submodule_is_not_ones_own(tmp_path, identity):  # noqa: ARG001
    """It comes with a clone as files that git tracks do."""
    source = tmp_path / "source"
    write_home(source, {"config.toml": '[worktrees]\ncheck = "true"\n'})
    settings = source / ".task_orchestrator"
    git(settings, "init", "-q")
    git(settings, "add", "-A")
    git(settings, "commit", "-qm", "x")
    allowed = ("-c", "protocol.file.allow=always")
    project = tmp_path / "project"
    git(tmp_path, "init", "-q", project)
    git(project, *allowed, "submodule", "--quiet", "add", settings, ".task_orchestrator")
    git(project, "commit", "-qm", "x")
    git(tmp_path, *allowed, "clone", "-q", "--recurse-submodules", project, "clone")
    assert (tmp_path / "clone" / ".task_orchestrator" / "config.toml").exists()
    assert not Home.locate(tmp_path / "clone").is_trusted


@pytest.mark.parametrize("is_repository", [False, True])
def test_a_home_made_here_is_never_asked_about(tmp_path, is_repository):
    """Not after it was edited, moved, or copied as it is; in a git repository, or in none."""
    first = tmp_path / "first"
    first.mkdir()
    if is_repository:
        git(first, "init", "-q")
    vespera.open(first).close()
    write_home(first, {"config.toml": 'content = "memory://"\n'})
    assert Home.locate(first).is_trusted
    moved = first.rename(tmp_path / "moved")
    assert Home.locate(moved).is_trusted
    copy = shutil.copytree(moved, tmp_path / "copy")
    assert Home.locate(copy).is_trusted
    write_home(copy, {"config.toml": 'content = "file:///elsewhere"\n'})
    shutil.rmtree(tmp_path / "of-a-person", ignore_errors=True)
    assert not Home.locate(copy).is_trusted, "it asks for something else than the original"


def test_settings_that_were_written_before_the_first_opening_are_ones_own(tmp_path):
    """In a repository that does not track them, and outside of any."""
    write_home(tmp_path, {"config.toml": 'content = "memory://"\n'})
    assert Home.locate(tmp_path).is_trusted
    vespera.open(tmp_path).close()
    assert Home.locate(tmp_path).is_trusted


def test_a_home_that_the_call_names_is_meant(tmp_path):
    """The folder was chosen by whoever calls, not found in somebody's files."""
    project = unpack(tmp_path, {"config.toml": 'content = "memory://"\n'})
    assert Home.locate(project, project / ".task_orchestrator").is_trusted


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_a_home_of_another_user_asks(tmp_path):
    """As git does for a repository of somebody else."""
    write_home(tmp_path, {"config.toml": 'content = "memory://"\n'})
    os.chown(tmp_path / ".task_orchestrator" / "config.toml", 4711, 4711)
    assert not Home.locate(tmp_path).is_trusted


# --- links ------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["artifacts", "orchestrator.db", "locks", "templates/x.md.j2", "locks/a.lock", "home_id"],
)
def test_a_link_in_a_home_is_refused(tmp_path, name):
    """Nothing is read or written at the other end of it."""
    project, outside = tmp_path / "p", tmp_path / "outside"
    outside.mkdir()
    write_home(project, {"config.toml": ""})
    link = project / ".task_orchestrator" / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(outside)
    with pytest.raises(UntrustedHomeError, match=f"{name} is a link"):
        vespera.open(project)
    assert list(outside.iterdir()) == []


def test_a_link_deep_in_the_index_is_refused(tmp_path, monkeypatch):
    """LanceDB would write and delete at its other end. Building the index anew removes the link."""
    monkeypatch.setattr("vespera_orchestrator.artifacts.search.index.SMALL_PASSAGES", 0)
    project, outside = tmp_path / "p", tmp_path / "outside"
    name = "passages.lance/data"
    project.mkdir()
    with vespera.open(project) as orch:
        orch.initialize_session("x")
        orch.artifacts.save("Notes", "a kettle")
        assert orch.artifacts.search("kettle", mode="text")
    (generation,) = (project / ".task_orchestrator" / "index.lance").glob("*/")
    (generation / name).rename(outside)
    (generation / name).symlink_to(outside)
    before = [(path, path.lstat().st_mtime_ns) for path in outside.rglob("*")]
    with vespera.open(project) as orch:
        orch.artifacts.save("More", "another kettle")
        with pytest.raises(UntrustedHomeError, match=f"{name} is a link"):
            orch.artifacts.search("kettle", mode="text")
        assert orch.artifacts.rebuild_index() == 2
        assert len(orch.artifacts.search("kettle", mode="text")) == 2
    assert [(path, path.lstat().st_mtime_ns) for path in outside.rglob("*")] == before


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_link_in_a_small_index_is_refused_to_readers(tmp_path, is_behind):
    """Whether the index is searched as it is, or completed in memory first."""
    (tmp_path / "p").mkdir()
    with vespera.open(tmp_path / "p") as orch:
        orch.initialize_session("x")
        orch.artifacts.save("Notes", "a kettle")
        assert orch.artifacts.search("kettle", mode="text")
        if is_behind:
            orch.artifacts.save("More", "another kettle")
    (table,) = (tmp_path / "p" / ".task_orchestrator" / "index.lance").glob("*/passages.db")
    table.rename(tmp_path / "outside.db")
    table.symlink_to(tmp_path / "outside.db")
    refused = pytest.raises(UntrustedHomeError, match=r"passages\.db is a link")
    with vespera.open(tmp_path / "p", readonly=True) as visitor, refused:
        visitor.artifacts.search("kettle", mode="text")


def test_consent_covers_the_folders_below_templates(clone):
    """A template can include others from there."""
    include = "{% include 'parts/x.j2' %}"
    template = f"<!-- vespera:begin x -->\n{include}\n<!-- vespera:end x -->\n"
    project = clone({"templates/changelog.md.j2": template, "templates/parts/x.j2": "fine"})
    vespera.trust(project)
    assert Home.locate(project).is_trusted
    write_home(project, {"templates/parts/x.j2": "other words"})
    assert not Home.locate(project).is_trusted


def test_the_lock_of_an_editor_is_no_link_of_the_home(tmp_path):
    """Emacs leaves one while ``config.toml`` is being edited."""
    write_home(tmp_path, {"config.toml": ""})
    (tmp_path / ".task_orchestrator" / ".#config.toml").symlink_to("ada@host.1:2")
    vespera.open(tmp_path).close()


# --- values -----------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "[worktrees]\ncheck_timeout_s = -1",
        "[worktrees]\nsetup_timeout_s = 0",
        "[worktrees]\nmax_file_bytes = -1",
        f"[worktrees]\nmax_file_bytes = {10**30}",
        '[worktrees]\nroot = "a\\u0000b"',
        '[documents]\nfolder = "a\\\\..\\\\..\\\\b"',
        '[documents]\nfolder = "a\\u001b[2J"',
    ],
)
def test_values_that_no_call_could_use_are_refused_when_read(tmp_path, line):
    """A negative timeout would block every landing."""
    write_home(tmp_path, {"config.toml": line})
    with pytest.raises(InvalidInputError, match=r"config\.toml"):
        vespera.open(tmp_path)


def test_a_damaged_id_is_no_id(tmp_path):
    """It may be any JSON."""
    for text in ("[]", "1", '{"id": 1}', "[" * 100_000, json.dumps({"id": "\x1b"})):
        write_home(tmp_path, {"home_id": text})
        assert Home.locate(tmp_path).id.startswith("h_")
