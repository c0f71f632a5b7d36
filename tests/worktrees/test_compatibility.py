"""Features that libgit2 would handle wrongly are recognised by settings and attributes alone."""

from __future__ import annotations

import os
from pathlib import Path

import pygit2
import pytest
from pygit2.enums import ConfigLevel

from vespera_orchestrator.errors import UnsupportedRepositoryError
from vespera_orchestrator.worktrees import compatibility, repository


@pytest.mark.parametrize(
    ("settings", "feature"),
    [
        ({}, None),
        ({"core.sparsecheckout": "true"}, "sparse checkout"),
        ({"core.sparsecheckout": "false"}, None),
        ({"remote.origin.promisor": "true"}, "partial clone"),
        ({"remote.origin.promisor": "off"}, None),
        ({"extensions.partialclone": "origin"}, "partial clone"),
        ({"extensions.objectformat": "sha256"}, "sha256"),
        ({"extensions.objectformat": "SHA1"}, None),
        ({"extensions.refstorage": "reftable"}, "reftable"),
        ({"core.bare": "true"}, None),
    ],
)
def test_settings_that_are_refused(settings, feature):
    """Each with its remedy; a setting that is switched off is none."""
    if feature is None:
        compatibility._refuse_settings(settings)
        return
    with pytest.raises(UnsupportedRepositoryError, match=feature) as raised:
        compatibility._refuse_settings(settings)
    assert raised.value.remedy


@pytest.mark.parametrize(
    ("attributes", "settings", "feature"),
    [
        (b"*.bin filter=lfs diff=lfs", {}, "Git LFS"),
        (b"*.c filter=indent", {}, None),
        (b"*.c filter=indent", {"filter.indent.clean": "indent"}, "the filter 'indent'"),
        (b"*.c filter=indent", {"filter.indentation.clean": "indent"}, None),
        (b"*.txt working-tree-encoding=UTF-16", {}, "working-tree-encoding=UTF-16"),
        (b"*.txt working-tree-encoding=utf-8", {}, None),
        (b"# *.bin filter=lfs", {}, None),
        (b"filter=lfs text", {}, None),
        (b"\xff filter=lfs", {}, "Git LFS"),
    ],
)
def test_attributes_that_are_refused(attributes, settings, feature):
    """A filter without a driver does nothing; LFS may be installed at any time."""
    if feature is None:
        compatibility._refuse_attributes(attributes, ".gitattributes", settings)
        return
    with pytest.raises(UnsupportedRepositoryError, match=rf"{feature} .\.gitattributes"):
        compatibility._refuse_attributes(attributes, ".gitattributes", settings)


# --- files that are written out as they are stored --------------------------------


@pytest.fixture
def system_files():
    """The folder of the machine's own files is the usual one again afterwards."""
    before = pygit2.settings.search_path[ConfigLevel.SYSTEM]
    yield
    pygit2.settings.search_path[ConfigLevel.SYSTEM] = before


def crlf_in_the_tree(project):
    """Ask for other line ends in a folder of the project."""
    project.commit("attributes", {"sub/.gitattributes": "*.txt text eol=crlf\n"})


def crlf_in_the_repository(project):
    """Ask in git's own folder."""
    project.write({".git/info/attributes": "*.txt text eol=crlf\n"})


def crlf_for_the_user(project):
    """Ask in the user's file."""
    file = project.folder.parent / "attributes"
    file.write_text("*.txt text eol=crlf\n")
    project.git("config", "core.attributesFile", str(file))


def crlf_for_the_system(project):
    """Ask in the file that counts for everybody on this machine."""
    folder = project.folder.parent / "etc"
    folder.mkdir()
    folder.joinpath("gitattributes").write_text("*.txt text eol=crlf\n")
    pygit2.settings.search_path[ConfigLevel.SYSTEM] = str(folder)


def crlf_by_setting(project):
    """Ask by git's setting."""
    project.git("config", "core.autocrlf", "true")


@pytest.mark.parametrize(
    "ask",
    [
        crlf_in_the_tree,
        crlf_in_the_repository,
        crlf_for_the_user,
        crlf_for_the_system,
        crlf_by_setting,
    ],
)
@pytest.mark.usefixtures("system_files")
def test_other_line_ends_are_written_wherever_they_are_asked_for(project, trees, ask):
    """Files are only written out as they are stored where nothing asks for anything else."""
    project.commit("lines", {"sub/lines.txt": "one\ntwo\n"})
    ask(project)
    worktree = trees.create(agent="ada")
    assert Path(worktree.path, "sub/lines.txt").read_bytes() == b"one\r\ntwo\r\n"


@pytest.mark.parametrize("setting", ["input", "false"])
def test_files_are_written_as_stored_where_nothing_asks_for_more(
    project, trees, monkeypatch, setting
):
    """Bytes, rights, links and names; and libgit2 looks for no filter."""
    used = []
    write = repository.check_out_as_stored
    monkeypatch.setattr(
        repository, "check_out_as_stored", lambda *args: used.append(args) or write(*args)
    )
    project.git("config", "core.autocrlf", setting)
    project.write({"run.sh": "#!/bin/sh\n", "both.txt": b"one\r\ntwo\n\0"})
    project.folder.joinpath("run.sh").chmod(0o755)
    project.folder.joinpath("link").symlink_to("both.txt")
    project.commit("files")
    folder = Path(trees.create(agent="ada").path)
    assert len(used) == 1
    assert folder.joinpath("both.txt").read_bytes() == b"one\r\ntwo\n\0"
    assert os.access(folder / "run.sh", os.X_OK)
    assert folder.joinpath("link").readlink() == Path("both.txt")
    assert project.git("status", "--porcelain", cwd=folder) == ""
