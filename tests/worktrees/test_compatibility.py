"""Features that libgit2 would handle wrongly are recognised by settings and attributes alone."""

from __future__ import annotations

import pytest

from vespera_orchestrator.errors import UnsupportedRepositoryError
from vespera_orchestrator.worktrees import compatibility


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
