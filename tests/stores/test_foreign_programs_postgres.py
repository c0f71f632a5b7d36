"""What somebody put into the schema of a PostgreSQL store ends, is named, and gains no rights."""

from __future__ import annotations

import contextlib

import psycopg
import pytest

import vespera_orchestrator as vespera
from vespera_orchestrator.errors import CorruptStoreError, InvalidInputError
from vespera_orchestrator.stores.postgres import PostgresStore, foreign
from vespera_orchestrator.stores.postgres.address import Address

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c) SELECT x::bigint FROM c"
VIEW = f"""
    DROP TABLE shared_values;
    CREATE VIEW shared_values AS SELECT x AS id, 's' || x AS session_id, 'k' AS key, '1' AS value,
        'a' AS agent, 0 AS shared_at, 0 AS disputes, 1 AS is_current FROM ({ENDLESS}) AS numbers
"""
TRIGGER = """
    CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN LOOP END LOOP; END $$;
    CREATE TRIGGER evil BEFORE INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION evil()
"""
SHADOW = """
    CREATE FUNCTION clock_timestamp(x integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'
"""
OTHERS = {
    "view": VIEW,
    "trigger": TRIGGER,
    "routine": SHADOW,
    "rule": "CREATE RULE quiet AS ON DELETE TO effects DO INSTEAD NOTHING",
    "policy": "CREATE POLICY own ON tasks USING (pg_sleep(9) IS NULL)",
    "operator": (
        "CREATE OPERATOR === (FUNCTION = pg_catalog.texteq, LEFTARG = text, RIGHTARG = text)"
    ),
    "type": "CREATE DOMAIN word AS text CHECK (length(value) < 9)",
    "check": "ALTER TABLE tasks ADD CONSTRAINT odd CHECK (length(title) < 900)",
    "default": "ALTER TABLE tasks ALTER title SET DEFAULT session_user",
    "index": "CREATE INDEX odd ON tasks (length(title))",
}


@pytest.fixture
def put_in(postgres_url):
    """Return a function that makes a store, changes its schema, and returns the server's name."""
    PostgresStore.open(postgres_url).close()
    address = Address(postgres_url)
    with psycopg.connect(**address.parameters, autocommit=True) as connection:
        connection.execute(f"SET search_path TO {address.schema}")
        yield lambda script: connection.execute(script)


def test_what_does_not_end_is_ended(tmp_path, postgres_url, put_in, monkeypatch, caplog):
    """A view and a trigger; what does not touch them works, and opening says what is there."""
    monkeypatch.setattr(foreign, "LIMIT_S", 0.3)
    put_in(VIEW)
    put_in(TRIGGER)
    with vespera.open(tmp_path, store=postgres_url) as orch:
        assert "did not make: trigger evil, view shared_values" in caplog.text
        orch.initialize_session("x")
        for call in (orch.shared_context, lambda: orch.plan_task("A")):
            with pytest.raises(CorruptStoreError, match="does not end"):
                call()
        assert list(orch.query_tasks()) == []


def foreign_problems(url):
    """Return what a check says about things that no store of ours makes."""
    with contextlib.closing(PostgresStore.open(url)) as store, store.ledger() as ledger:
        return [each for each in ledger.problems() if "was not made by this" in each]


def test_each_kind_is_named_with_what_removes_it(postgres_url, put_in):
    """The remedy is one statement for each; afterwards nothing is left."""
    for script in OTHERS.values():
        put_in(script)
    problems = foreign_problems(postgres_url)
    for kind in OTHERS:
        assert any(each.startswith(f"the {kind} ") for each in problems), kind
    for problem in problems:
        put_in(problem.partition("remove it: ")[2])
    assert foreign_problems(postgres_url) == []


def test_what_a_stranger_put_in_does_not_run_with_your_rights(postgres_url, put_in):
    """Its owner could not do what our role may do: the store is not opened."""
    schema = Address(postgres_url).schema
    stranger = f"stranger_{schema}"
    put_in(f"CREATE ROLE {stranger}")
    try:
        put_in(TRIGGER)
        put_in(f"GRANT CREATE ON SCHEMA {schema} TO {stranger}")
        put_in(f"ALTER FUNCTION evil() OWNER TO {stranger}")
        with pytest.raises(InvalidInputError, match="with your rights") as caught:
            PostgresStore.open(postgres_url)
        assert stranger in str(caught.value)
        assert "DROP TRIGGER evil ON tasks" in str(caught.value)
    finally:
        put_in(f"DROP OWNED BY {stranger} CASCADE; DROP ROLE {stranger}")
    PostgresStore.open(postgres_url).close()
