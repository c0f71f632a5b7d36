"""What somebody else put into the schema of a PostgreSQL store.

A view in the place of a table, a trigger, a function that has the name of one of the server's: all
of these are programs that run with our statements, and with the rights of our role. Where there is
one, every statement has a limit of time. Where somebody put it there who could not act as our role
otherwise, the store is not opened at all.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from vespera_orchestrator import _attrs as attrs
from vespera_orchestrator._text import show_methods
from vespera_orchestrator.stores.postgres.schema import MIGRATIONS
from vespera_orchestrator.stores.sql.dialect import sql_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

LIMIT_S: Final = 35
"""How long a statement may take; whoever waits for a lock gives up before, with its own error."""

_HERE: Final = "current_schema()::regnamespace"


def _identity(catalog: str) -> str:
    """Return the expression for how a statement names a row of this catalog."""
    return f"(pg_identify_object('{catalog}'::regclass, {catalog}.oid, 0)).identity"


_TABLES: Final = f"""
    SELECT oid, relname, relkind, relowner, reltype FROM pg_class
    WHERE relnamespace = {_HERE} AND relkind NOT IN ('i', 'I', 't')
"""
PROGRAMS: Final = f"""
    WITH tables AS ({_TABLES}), programs (kind, name, place, identity, text, is_on, owner) AS (
        SELECT 'trigger', tgname, relname, '', prosrc, tgenabled <> 'D', proowner
        FROM pg_trigger JOIN tables ON tables.oid = tgrelid JOIN pg_proc ON pg_proc.oid = tgfoid
        WHERE NOT tgisinternal
    UNION ALL
        SELECT 'rule', rulename, relname, '', '', true, relowner
        FROM pg_rewrite JOIN tables ON tables.oid = ev_class WHERE relkind IN ('r', 'p')
    UNION ALL
        SELECT CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
            ELSE 'foreign table' END, relname, '', '', '', true, relowner
        FROM tables WHERE relkind IN ('v', 'm', 'f')
    UNION ALL
        SELECT 'policy', polname, relname, '', '', true, relowner
        FROM pg_policy JOIN tables ON tables.oid = polrelid
    UNION ALL
        SELECT 'routine', proname, '', {_identity("pg_proc")}, prosrc, true, proowner
        FROM pg_proc WHERE pronamespace = {_HERE}
    UNION ALL
        SELECT 'operator', oprname, '', {_identity("pg_operator")}, '', true, oprowner
        FROM pg_operator WHERE oprnamespace = {_HERE}
    UNION ALL
        SELECT 'type', typname, '', {_identity("pg_type")}, '', true, typowner
        FROM pg_type WHERE typnamespace = {_HERE} AND typcategory <> 'A'
            AND oid NOT IN (SELECT reltype FROM tables)
    UNION ALL
        SELECT 'column', attname, relname, '', typname, true, typowner
        FROM pg_attribute JOIN tables ON tables.oid = attrelid AND relkind = 'r'
        JOIN pg_type ON pg_type.oid = atttypid
        WHERE typnamespace <> 'pg_catalog'::regnamespace
    UNION ALL
        SELECT 'check', conname, relname, '', pg_get_expr(conbin, conrelid), true, relowner
        FROM pg_constraint JOIN tables ON tables.oid = conrelid WHERE contype = 'c'
    UNION ALL
        SELECT 'default', attname, relname, '', pg_get_expr(adbin, adrelid), true, relowner
        FROM pg_attrdef JOIN tables ON tables.oid = adrelid
        JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
    UNION ALL
        SELECT 'index', indexes.relname, '', '', pg_get_expr(indexprs, indrelid), true,
            indexes.relowner
        FROM pg_index JOIN tables ON tables.oid = indrelid
        JOIN pg_class indexes ON indexes.oid = indexrelid
        WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
    )
    SELECT kind, name::text, place::text, identity, coalesce(text, ''), is_on,
        pg_get_userbyid(owner)::text, pg_has_role(owner, current_user, 'USAGE')
    FROM programs ORDER BY kind IN ('routine', 'type'), kind, name
"""
"""Whatever in the schema can do something of its own, ours included."""
_OWN_TEXT: Final = " ".join(" ".join(MIGRATIONS).split())
_SCHEMA: Final = "\n".join(MIGRATIONS)
OWN_TRIGGERS: Final = frozenset(re.findall(r"CREATE CONSTRAINT TRIGGER (\w+)", _SCHEMA))
_OWN_INDEXES: Final = frozenset(re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", _SCHEMA))
_OWN_CHECKS: Final = frozenset({"(blockers >= 0)"})
_CONSTANT: Final = re.compile(r"(?:'[^']*'|-?\d+)(?:::\w+)?")
_REMOVALS: Final = {
    "check": "ALTER TABLE {place} DROP CONSTRAINT {name}",
    "column": "ALTER TABLE {place} ALTER {name} TYPE text",
    "default": "ALTER TABLE {place} ALTER {name} DROP DEFAULT",
}
"""How those are removed that belong to a column or a table."""


@show_methods
@attrs.frozen(kw_only=True)
class Program:
    """Something in the schema that does something of its own."""

    kind: str
    name: str
    place: str
    """The table that it belongs to, or nothing."""
    identity: str
    """How a statement names it, where its name alone is not enough."""
    text: str
    """What it does, where the server keeps the text."""
    is_on: bool
    owner: str
    """The role with whose will it is there."""
    owner_may_act_as_us: bool
    """Whether that role could do by itself whatever we may do."""

    def __str__(self) -> str:
        return f"{self.kind} {sql_name(self.name)}"

    @property
    def is_ours_by_name(self) -> bool:
        """Whether there is one of this kind and name in a store of ours."""
        names = {
            "trigger": self.name in OWN_TRIGGERS,
            "routine": self.name == "tally_anew",
            "check": self.text in _OWN_CHECKS,
            "default": _CONSTANT.fullmatch(self.text) is not None,
            "index": self.name in _OWN_INDEXES and not self.text,
        }
        return names.get(self.kind, False)

    @property
    def is_ours(self) -> bool:
        """Whether it also does the same."""
        has_code = self.kind in {"trigger", "routine"}
        does_the_same = not has_code or " ".join(self.text.split()) in _OWN_TEXT
        return self.is_ours_by_name and does_the_same

    @property
    def removal(self) -> str:
        """The statement that removes it."""
        place, name = sql_name(self.place), sql_name(self.name)
        if self.kind in _REMOVALS:
            return _REMOVALS[self.kind].format(name=name, place=place)
        on_table = f" ON {place}" if self.place else ""
        return f"DROP {self.kind.upper()} {self.identity or name}{on_table}"


def read_programs(run: Callable[[str], Iterable[Sequence[Any]]]) -> list[Program]:
    """Return what is in the schema; *run* returns the rows of a query."""
    names = [field.name for field in attrs.fields(Program)]
    return [Program(**dict(zip(names, row, strict=True))) for row in run(PROGRAMS)]
