"""The table of a log in a PostgreSQL database: found, checked, made, or brought up to date.

The owner of the table can make it lie: with a view, a trigger, a rule, a row policy, or another
relation of its name. So the table is looked at when the log is opened, and again and again.
Rows may also have numbers that no sequence gave them: copied, replicated, or chosen by a role
that may. Then it is said how to mend that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.sql import Identifier

from keyturn.config.postgres_connection import Connection
from keyturn.config.postgres_statements import (
    CREATE,
    GRANT,
    HEAD,
    LOOK,
    MIGRATE,
    NUMBERS,
    TABLE,
)
from keyturn.config.store import SCHEMA_VERSION
from keyturn.config.store_errors import unavailable
from keyturn.domain.errors import LogVersionError, NotAKeyturnLogError

_HIGHEST = 2**62
"""No server gives this number to a row: somebody chose it, and the sequence cannot follow."""


@dataclass(frozen=True)
class Rights:
    """What this role may do with the table. Its name is as a statement has it."""

    role: str
    is_owner: bool
    may_read: bool
    may_append: bool
    may_choose_numbers: bool
    may_rewrite: bool


@dataclass(frozen=True)
class Relation:
    """What stands in a schema under the name of our table.

    Attributes:
        name: with its schema, as a statement has it.
        oid: its number in the database.
        is_table: and no view or the like.
        version: of the schema; None if it is not of Keyturn.
        alterations: what can make it lie, and what to do about that.
        sequence: that gives numbers to rows, as a statement has it; None if there is none, or
            none that this role may read.
    """

    schema: str
    name: str
    oid: int
    is_table: bool
    version: int | None
    alterations: list[str]
    sequence: str | None
    rights: Rights

    @property
    def grants(self) -> str:
        """The statements that give this role what a service needs."""
        return GRANT.format(table=self.name, role=self.rights.role).replace("\n", " ")

    @property
    def head_statement(self) -> str:
        """A statement whose row differs once anything was committed to the table.

        It asks for the newest row twice: with the highest number, and with the highest that the
        sequence gave. Without the sequence it asks whether any transaction of the server ended.
        """
        if self.sequence is None:
            return "SELECT pg_current_snapshot()::text"
        return HEAD.format(table=self.name, sequence=self.sequence, oid=self.oid)


def look(connection: Connection) -> list[Relation]:
    """Return all relations that could be taken for our table, in the order of the path.

    Args:
        connection: of the role that would read it.
    """
    rows = connection.execute(LOOK, (connection.search_path,))
    return [Relation(*(*row[:7], Rights(*row[7:]))) for row in rows]


def problems(relations: Sequence[Relation], oid: int | None = None) -> list[str]:
    """Return what is wrong with what stands there: a line each.

    Args:
        relations: what `look` found.
        oid: of the table that was opened.
    """
    if not relations:
        return ["the table of the log is gone: put back a copy of it"]
    first = relations[0]
    found = [f"{first.name} {what}" for what in first.alterations]
    if len(relations) > 1:
        names = ", ".join(relation.name for relation in relations)
        found.append(
            f"several schemas of the search_path hold a {TABLE} ({names}), and one hides the "
            "other: remove the wrong one, or name one schema (options=-csearch_path%3DNAME)"
        )
    if oid is not None and first.oid != oid:
        found.append(f"another table was put in the place of {first.name}")
    return found


def sequence_problems(connection: Connection, relation: Relation) -> list[str]:
    """Return what is wrong if a row has a number that the sequence of the table has yet to give.

    That is so after a copy or logical replication, which bring rows and no sequence.
    """
    if relation.sequence is None:
        return []
    ask = NUMBERS.format(table=relation.name, sequence=relation.sequence)
    [(last, is_used, highest)] = connection.execute(ask)
    if highest < last + is_used:
        return []
    sequence = relation.sequence.replace("'", "''")
    mend = f"SELECT setval('{sequence}', {highest})"
    if highest >= _HIGHEST:
        mend = f"DELETE FROM {relation.name} WHERE notification_id >= {_HIGHEST}"  # noqa: S608
    what = f"the sequence of {relation.name} is behind its table, which has a row {highest}"
    return [f"{what}, as after a copy: {mend}"]


def lock_number(schema: str) -> int:
    """Return the number of the lock that writers to the log in a schema take."""
    number = hashlib.sha256(f"keyturn log {schema}".encode()).digest()[:8]
    return int.from_bytes(number, "big", signed=True)


def open_table(connection: Connection, location: str) -> Relation:
    """Return our table, made if there is none, and brought up to date if it is older.

    Raises:
        NotAKeyturnLogError: it is another application's, or something can make it lie.
        LogVersionError: a newer Keyturn made it.
        LogUnavailableError: it cannot be made, or not be brought up to date by this role, which
            may not read it, or may choose the numbers of rows; or these are not in order.
    """
    if not look(connection):
        _make(connection, location)
    relations = look(connection)
    if len(relations) == 1 and relations[0].is_table and _version(relations[0]) < SCHEMA_VERSION:
        _migrate(connection, relations[0], location)
        relations = look(connection)
    found = problems(relations)
    if found:
        raise NotAKeyturnLogError("; ".join(found), location=location)
    relation = relations[0]
    _check_rights(relation, location)
    found = sequence_problems(connection, relation)
    if found and relation.rights.may_append:
        raise unavailable(location, found[0])
    return relation


def _make(connection: Connection, location: str) -> None:
    schema = connection.search_path[0]
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(schema),))
        if look(connection):
            return  # of several first openers one makes the table
        try:
            connection.execute(_in_schema(schema) + CREATE)
        except psycopg.errors.InsufficientPrivilege as error:
            why = (
                "there is no log yet, and this role may not make one: have its owner open it once"
            )
            raise unavailable(location, why) from error


def _version(relation: Relation) -> int:
    if relation.version is None:
        raise NotAKeyturnLogError(
            f"the table {relation.name} is another application's: choose another schema "
            "(options=-csearch_path%3DNAME in the URL) or database"
        )
    if relation.version > SCHEMA_VERSION:
        raise LogVersionError("the log was made by a newer Keyturn: install that version")
    return relation.version


def _migrate(connection: Connection, relation: Relation, location: str) -> None:
    """Bring a table up to date, whose writers wait meanwhile."""
    statements = _in_schema(relation.schema) + MIGRATE
    if not relation.rights.is_owner:
        raise unavailable(
            location,
            "its table is of an older version of Keyturn: stop every process of that version, "
            f"and have the owner of the table open the log or run: BEGIN; {statements}COMMIT;",
        )
    with connection.transaction():
        connection.execute(f"LOCK TABLE {relation.name} IN ACCESS EXCLUSIVE MODE")
        if look(connection) == [relation]:  # another process may have done it
            connection.execute(statements)


def _in_schema(schema: str) -> str:
    return f"SET LOCAL search_path = {Identifier(schema).as_string()};"


def _check_rights(relation: Relation, location: str) -> None:
    rights = relation.rights
    if not rights.may_read:
        raise unavailable(location, f"this role may not read it: {relation.grants}")
    if rights.may_choose_numbers and not rights.is_owner:
        raise unavailable(
            location,
            f"this role may choose the numbers of rows, by which others notice changes: REVOKE "
            f"INSERT ON {relation.name} FROM {rights.role} (or from the group or PUBLIC "
            f"that has it); {relation.grants}",
        )
