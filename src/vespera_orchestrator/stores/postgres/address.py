"""Where a PostgreSQL store is: what libpq needs, and the schema."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from vespera_orchestrator.errors import InvalidInputError
from vespera_orchestrator.stores.postgres.driver import psycopg
from vespera_orchestrator.stores.sql.address import masked

_DEFAULTS: Final = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "application_name": "vespera_orchestrator",
    "client_encoding": "utf8",
}
"""With these, a server that is gone is noticed after a minute, not after two hours.

The address overrides them.
"""
_DEFAULT_SCHEMA: Final = "vespera"
_SCHEMA_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")


class Address:
    """Where a store is. Its password is never shown."""

    def __init__(self, url: str) -> None:
        self.url = url
        head, _, query = url.partition("?")
        words = [word for word in query.split("&") if word]
        schemas = [word for word in words if word.startswith("schema=")]
        self.schema = _DEFAULT_SCHEMA
        if schemas:
            self.schema = unquote(schemas[0].removeprefix("schema="))
        if not _SCHEMA_NAME.fullmatch(self.schema) or self.schema.startswith("pg_"):
            raise InvalidInputError(
                "store",
                f"{self.schema!r} is not a valid name for a schema: start with a small letter; "
                "small letters, digits, underscores",
            )
        for_libpq = "&".join(word for word in words if word not in schemas)
        self.parameters = _DEFAULTS | self._parse(f"{head}?{for_libpq}")
        passwords = (self.parameters.get(name) for name in ("password", "sslpassword"))
        self._secrets = [password for password in passwords if password]

    def _parse(self, conninfo: str) -> dict[str, str]:
        try:
            parameters = psycopg.conninfo.conninfo_to_dict(conninfo)
        except psycopg.Error:
            # Without its cause, which may quote the password.
            raise InvalidInputError(
                "store", f"{masked(self.url)!r} is not an address that libpq understands"
            ) from None
        return {name: str(value) for name, value in parameters.items() if value is not None}

    @property
    def name(self) -> str:
        """The address without its password."""
        return masked(self.url)

    def without_secrets(self, text: str) -> str:
        """Take passwords out of what a server or driver wrote."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def __repr__(self) -> str:
        return f"Address({self.name!r})"
