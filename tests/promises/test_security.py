"""Each row of the table of attacks in the page about security has its test."""

from __future__ import annotations

import ast
import re

import pytest

from support import ROOT

TESTS = {
    "A cloned `config.toml` sets": "home/test_trust.py::"
    "test_a_clone_runs_no_command_and_writes_nowhere_else",
    "Cloned templates or roles": "home/test_trust.py::"
    "test_a_clone_neither_words_documents_nor_instructs_agents",
    "A cloned home keeps its records": "home/test_trust.py::"
    "test_records_elsewhere_are_refused_because_the_work_would_be_split",
    "A consented home changes": "home/test_trust.py::test_consent_is_for_what_was_asked",
    "A link inside a home": "home/test_trust.py::test_a_link_in_a_home_is_refused",
    "A link deep in the search index": "home/test_trust.py::"
    "test_a_link_deep_in_the_index_is_refused",
    "A few bytes in the place": "artifacts/content/test_folder.py::test_a_bomb_is_not_unpacked",
    "A setting that no call could use": "home/test_trust.py::"
    "test_values_that_no_call_could_use_are_refused_when_read",
    "A pipe, a device or a file": "home/test_reading.py::"
    "test_a_pipe_for_settings_is_refused_by_name",
    "An edited export": "maintenance/test_edited_export.py::"
    "test_an_edited_export_is_sound_or_refused",
    "A crafted path, ref or column": "maintenance/test_edited_export.py::"
    "test_what_becomes_a_path_or_a_statement_is_looked_at",
    "Triggers, views, rules": "stores/test_postgres.py::"
    "test_what_somebody_put_into_the_schema_is_named",
    "A view or a trigger in a SQLite": "stores/test_foreign_programs.py::"
    "test_what_does_not_end_is_ended",
    "An index, a column or a table": "stores/test_foreign_programs.py::"
    "test_whatever_else_was_put_in_is_named",
    "A title of a gigabyte": "stores/test_foreign_programs.py::"
    "test_a_giant_in_the_database_is_not_read",
    "A database whose version": "stores/test_foreign_programs.py::"
    "test_a_version_that_the_tables_belie_is_told",
    "Rows that no store of ours": "maintenance/test_edited_export.py::"
    "test_what_was_put_into_the_database_breaks_no_call",
    "Escape sequences and invisible": "progress/test_what_others_wrote.py::"
    "test_no_text_that_people_read_is_obeyed",
    "A title that forges a line": "progress/test_what_others_wrote.py::"
    "test_a_title_cannot_forge_the_end_of_a_commit_message",
    "Work that contains headings or orders": "progress/test_work_briefing.py::"
    "test_nothing_that_others_wrote_can_pass_for_ours",
    "Work that contains headings and fences": "artifacts/test_context.py::"
    "test_what_a_context_shows_can_form_no_heading_of_ours",
    "A value that cannot be printed": "promises/test_any_argument.py::"
    "test_any_argument_of_any_call",
    "A plan whose YAML aliases": "tasks/test_plan_text.py::"
    "test_a_text_that_cannot_be_read_is_refused_with_its_line",
    "A text made to keep the search": "test_secrets.py::"
    "test_no_text_takes_more_than_in_proportion_to_its_length",
    "Keys and passwords in titles": "promises/test_secrets_masked.py::"
    "test_nothing_that_people_and_agents_read_has_a_secret",
    "A password in the address": "stores/test_postgres.py::test_a_password_is_never_shown",
    "Another user of the machine": "home/test_permissions.py::"
    "test_two_users_of_one_group_work_in_one_home",
}
"""By the beginning of the attack's sentence."""


def attacks():
    """Return the first column of the table."""
    page = (ROOT / "docs" / "security.md").read_text("utf-8")
    section = page.partition("## Attacks, and what happens")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| .+ \|$", section, re.MULTILINE)
    return [row for row in rows if row != "attack" and not row.startswith("---")]


def test_every_attack_has_its_test():
    """And no test is named for an attack that the page does not have."""
    assert len(attacks()) == len(TESTS)
    for attack in attacks():
        assert [start for start in TESTS if attack.startswith(start)], attack


@pytest.mark.parametrize("place", TESTS.values())
def test_the_test_is_there(place):
    """Whoever renames one corrects the table above."""
    file, _, name = place.partition("::")
    tree = ast.parse((ROOT / "tests" / file).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_how_to_report_a_hole_is_said():
    """At the top of the repository, where hosts look for it."""
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    assert "in private" in page
    assert "docs/security.md" in page
