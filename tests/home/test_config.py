"""The settings: each declared once, and the file, the checks and the environment follow."""

# ruff: noqa: E501, RUF009 - config.toml is as wide as it is; `_setting` is attrs.field

from __future__ import annotations

import re
import tomllib

import attrs
import pytest

from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.home import config as settings
from vespera_orchestrator.home.config import Config, initial_text, read_settings

TEXT = """\
# Settings of this home. Every line is optional; a comment shows the default, or an example.
# content = "s3://bucket/folder"       # where the bytes of artifacts go, instead of artifacts/; also file://, gs://, az://
# access = "user"                      # "group": the group of its folder may read and write this home, too

[store]
# url = "postgresql://host/database"  # where the records are, instead of orchestrator.db; a relative path starts at this folder
# durability = "full"                 # "normal": faster on slow disks; a power cut may then take the last moments

[worktrees]
# root = "../worktrees"               # relative to the project's folder; {project}, {session} and {agent} are filled in
# branch_prefix = "feature/"          # before the task's alias; the same words are filled in
# integration_branch = "integration"  # where finished work goes
# max_file_bytes = 50000000           # larger untracked files are left out of snapshots, and named
# heartbeat_save_s = 0                # a heartbeat this soon after a save only renews the lease; 0: each one saves
# merge_style = "squash"              # one commit for each task; "merge": with the worktree's own commits; "fast-forward"
# check = ["pytest", "-q"]            # run on the merged files before they land; none by default
# check_timeout_s = 600
# setup = ["npm", "ci"]               # run in each new worktree first; {index}, {task} and {project} are filled in
# setup_timeout_s = 600
# link = ["node_modules"]             # ignored files and folders of the main worktree that new ones get as links
# undoing = "warn"                    # when work would undo what others landed: "warn" or "refuse"

[documents]
# enabled = true                      # keep docs/ up to date in sessions that have a project type
# folder = "docs"                     # where they are, relative to the project's folder
# exclude = ["ARCHITECTURE.md"]       # documents that are not kept
# names = {"CHANGELOG.md" = "CHANGELOG.md"} # other paths for single documents

[delegation]
# coordinator = "coordinator"         # the agent that coordinates; so does whoever spawns agents
# coordinator_executes = "light"      # what the coordinator is handed when it names no task: "light", "all" or "none"
# synthesize = true                   # bring the results of subtasks together when the last one ends
# empty_rounds = 3                    # handed back so often without progress, a task is blocked; 0: never

[pressure]
# strained_at = 40                    # from this score on it is strained
# overwhelmed_at = 70                 # from this score on it is overwhelmed
# calm_margin = 15                    # a level ends this much below
# hold_minutes = 30                   # and lasts at least this long
# capacity = 4                        # as many tasks at once as you can follow
# limit_claims = true                 # hand out fewer tasks at once under pressure
# checkpoint_minutes = 10             # running work saves itself this often; 0: never
# failures = 6                        # so many blocked attempts in a day weigh fully
# retries = 8                         # so many second and later attempts in a day
# expired_leases = 4                  # so many silent agents in a day
# growth = 40                         # so many more tasks planned than ended in a day
# conflicts = 3                       # so many landings not settled
# unseen = 20                         # so many finished tasks nobody has seen
# hours = 8                           # so many hours without a break
# break_minutes = 45                  # what counts as a break
# unsaved_minutes = 120               # so long without saving running work

[person]
# timezone = "Europe/Berlin"          # where you are: a date is a day there
# digest_hours = [9, 13, 18]          # from these hours on, there is one digest each; three at most

[low_energy]
# people = ["main"]                   # who always sees one step at a time, by agent name
# when_overwhelmed = true             # everybody does while it is overwhelmed
# days_away = 0                       # whoever comes back after so many days does at first; 0: nobody

[search]
# embedder = "auto"                   # "none", or e.g. "sentence-transformers:all-MiniLM-L6-v2", "ollama:nomic-embed-text"
"""


def test_the_text_of_a_new_file():
    """Whoever changes it sees what a new home says."""
    assert initial_text(None) == TEXT


def test_the_text_is_made_from_the_fields():
    """Whatever a field declares is in the text: its name, its default or example, its comment."""
    lines = initial_text(None).splitlines()
    declared = {
        (section, key): setting
        for section, kind in settings._sections()
        for key, setting in settings._settings(kind)
    }
    tables = tomllib.loads(uncommented(lines))
    for (section, key), setting in declared.items():
        table = tables[section] if section else tables
        assert table.get(key) == setting.example
        assert sum(setting.comment in line for line in lines) >= 1
    listed = {name: table for name, table in tables.items() if isinstance(table, dict)}
    assert {(section, key) for section in listed for key in listed[section]} | {
        ("", key) for key in tables.keys() - listed.keys()
    } == {pair for pair, setting in declared.items() if setting.example is not None}


def uncommented(lines):
    """Turn each setting that is a comment into one that counts."""
    return "\n".join(re.sub(r"^# (?=\w+ = )", "", line) for line in lines[1:])


def test_a_setting_of_a_new_class_is_known_at_once(tmp_path, monkeypatch):
    """One field more is all that a new setting takes: the file, its checks and its errors have it."""

    @attrs.frozen(kw_only=True)
    class MoreSearchSettings(settings.SearchSettings):
        width: int = settings._setting(3, "how many", variable="WIDTH")

    @attrs.frozen(kw_only=True)
    class MoreConfig(Config):
        search: MoreSearchSettings = settings._section(MoreSearchSettings)

    monkeypatch.setattr(settings, "Config", MoreConfig)
    assert initial_text(None) == TEXT + "# width = 3                           # how many\n"
    path = tmp_path / "config.toml"
    path.write_text("[search]\nwidth = 5\n")
    assert read_settings(path).config().search.width == 5
    path.write_text("[search]\nwidth = 'x'\n")
    with pytest.raises(InvalidInputError, match=r"search.width = 'x' should be of type int"):
        read_settings(path).config()


def test_the_project_of_a_home_elsewhere_is_written_first(tmp_path):
    """A path is a TOML text, whatever is in it."""
    path = tmp_path / "config.toml"
    path.write_text(initial_text(tmp_path / 'a "b" \x7f ü'))
    assert read_settings(path).config() == Config(project=str(tmp_path / 'a "b" \x7f ü'))


def test_a_file_of_comments_and_a_missing_one_are_the_defaults(tmp_path):
    """Nothing that is only a comment counts."""
    path = tmp_path / "config.toml"
    assert read_settings(path).config() == Config()
    path.write_text(initial_text(None))
    assert read_settings(path).config() == Config()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "colour = 1",
            "unknown setting 'colour'; known: project, content, access, store.url, store.durability,",
        ),
        ("worktrees = 3", "unknown setting 'worktrees'"),
        ("[worktrees]\nroof = 'x'", "unknown setting 'worktrees.roof'"),
        ("'worktrees.root' = 'x'", "unknown setting 'worktrees.root'"),
        ("[worktrees.root]\nx = 1", "worktrees.root = {'x': 1} should be of type str"),
        ("[worktrees]\nmax_file_bytes = true", "max_file_bytes = True should be of type int"),
        ("[worktrees]\nundoing = 'x'", "undoing = 'x' should be one of warn, refuse"),
        ("[worktrees]\ncheck = []", 'should be a list of words (["pytest", "-q"])'),
        ("content = 1", "content = 1 should be of type str"),
        ("x = [", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_what_is_allowed(tmp_path, text, problem):
    """The error names the file, the setting, its value, and what would be right."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(InvalidInputError) as caught:
        read_settings(path).config()
    assert caught.value.name == str(path)
    assert problem in caught.value.problem


def test_the_environment_goes_before_the_file(tmp_path, monkeypatch):
    """A setting with a variable is read from it, and an empty variable is none."""
    path = tmp_path / "config.toml"
    path.write_text('content = "file:///a"\n[search]\nembedder = "none"\n')
    monkeypatch.setenv(settings.ENV_CONTENT, "file:///b")
    monkeypatch.setenv(settings.ENV_EMBEDDER, " ")
    assert read_settings(path).config().content == "file:///b"
    assert read_settings(path).config().search.embedder == "none"


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("WIDTH", " 5 ", 5),
        ("WIDTH", "five", "'five' should be of type int"),
        ("STRICT", "False", False),
        ("STRICT", "0", "'0' should be of type bool"),
        ("STYLE", "merge", "merge"),
        ("STYLE", "banana", "'banana' should be one of squash, merge"),
    ],
)
def test_a_variable_is_converted_and_checked(tmp_path, monkeypatch, variable, text, expected):
    """What the environment says passes the same check as what the file says."""

    @attrs.frozen(kw_only=True)
    class MoreConfig(Config):
        width: int = settings._setting(3, variable="WIDTH")
        strict: bool = settings._setting(True, variable="STRICT")
        style: str = settings._setting(
            "squash", check=settings._one_of("squash", "merge"), variable="STYLE"
        )

    monkeypatch.setattr(settings, "Config", MoreConfig)
    monkeypatch.setenv(variable, text)
    path = tmp_path / "config.toml"
    if isinstance(expected, str) and " " in expected:
        with pytest.raises(InvalidInputError) as caught:
            read_settings(path).config()
        assert (caught.value.name, caught.value.problem) == (variable, expected)
    else:
        assert getattr(read_settings(path).config(), variable.lower()) == expected
