"""Roles: those that come with the library, the project's own, and free text."""

from __future__ import annotations

import pytest

from vespera_orchestrator.agents.roles.role import PROJECT_FILE, Role, read_roles, role_named
from vespera_orchestrator.errors import InvalidInputError

PACKAGED = {
    *("analyst", "architect", "coder", "debugger", "tester", "reviewer", "documenter"),
    *("researcher", "devops", "coordinator", "generic"),
}


@pytest.fixture
def write(tmp_path):
    """A function that writes the project's own roles, and returns the home."""

    def write_roles(text):
        path = tmp_path / PROJECT_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return write_roles


def test_the_packaged_roles_are_complete(tmp_path):
    """Each says who it is, what it is good at, how it works, and what it hands in."""
    roles = read_roles(tmp_path)
    assert set(roles) == PACKAGED
    for role in roles.values():
        assert role.role_definition.startswith("You ")
        assert len(role.expertise) >= 3
        assert len(role.approach) >= 3
        assert role.output_format
        assert role.name in str(role)


def test_a_project_changes_what_it_says_and_adds_its_own(write):
    """What it does not say stays as it is packaged."""
    home = write(
        "coder:\n  output_format: A patch.\n"
        "gardener:\n  role_definition: You grow things.\n  expertise: roses\n"
    )
    roles = read_roles(home)
    packaged = read_roles(home / "elsewhere")
    assert roles["coder"].output_format == "A patch."
    assert roles["coder"].approach == packaged["coder"].approach
    assert roles["gardener"] == Role(
        name="gardener", role_definition="You grow things.", expertise=("roses",)
    )
    assert roles["tester"] == packaged["tester"]


def test_the_roles_may_stand_under_one_key(write):
    """As ``roles:``; and an empty file says nothing."""
    home = write("roles:\n  cook:\n    role_definition: You cook.\n")
    assert read_roles(home)["cook"].role_definition == "You cook."
    assert set(read_roles(write(""))) == PACKAGED


def test_an_unknown_specialist_is_described_by_its_own_words(tmp_path):
    """Nothing is invented for it."""
    roles = read_roles(tmp_path)
    assert role_named(roles, " Coder ") is roles["coder"]
    assert str(role_named(roles, "someone who knows boilers")) == (
        "Your role: someone who knows boilers."
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("coder: [", "is not YAML"),
        (b"\xff\xfe\x00coder", "is not UTF-8"),
        ("- coder", "should map the name of each role"),
        ("coder: fast", "role 'coder' should have some of role_definition"),
        ("coder:\n  motto: go", "role 'coder' has the unknown key 'motto'; known: role_definition"),
        ("coder:\n  approach: 7", "coder.approach should be a text or a list of texts"),
        ("coder:\n  approach: [{a: b}]", "coder.approach should be a text or a list of texts"),
        ("7: {}", "7 is not the name of a role"),
        ("a: &a {role_definition: x}\nb: *a", "uses an anchor and an alias"),
        ("coder:\n  approach: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("x" * 300_000, "has more than 200,000 bytes"),
    ],
)
def test_a_mistake_is_named_with_file_role_and_key(write, text, problem):
    """So that it can be found and corrected."""
    home = write(text)
    with pytest.raises(InvalidInputError) as error:
        read_roles(home)
    assert problem in str(error.value)
    assert error.value.name == str(home / PROJECT_FILE)
