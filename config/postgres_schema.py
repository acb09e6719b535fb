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

from keyturn.config.postgres_connections import Connection
from keyturn.config.postgres_errors import unavailable
from keyturn.config.store import SCHEMA_VERSION
from keyturn.domain.errors import LogVersionError, NotAKeyturnLogError

TABLE = "keyturn_events"

_MARK = "Keyturn log, schema "
"""The comment of the table: it tells ours from another application's."""

_HIGHEST = 2**62
"""No server gives this number to a row: somebody chose it, and the sequence cannot follow."""

_CREATE = f"""
CREATE TABLE keyturn_events (
    originator_id uuid NOT NULL,
    originator_version bigint NOT NULL,
    topic text,
    state bytea,
    notification_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
CREATE UNIQUE INDEX keyturn_events_notification_id_idx ON keyturn_events (notification_id);
CREATE INDEX keyturn_events_topic_idx ON keyturn_events (topic);
COMMENT ON TABLE keyturn_events IS '{_MARK}{SCHEMA_VERSION}';
"""

# No service chooses the numbers of rows, by which others notice changes.
_GRANT = """\
GRANT SELECT ON {table} TO {role};
GRANT INSERT (originator_id, originator_version, topic, state) ON {table} TO {role};
GRANT SELECT ON SEQUENCE {table}_notification_id_seq TO {role};"""

GRANT_SQL = _GRANT.format(table=TABLE, role="keyturn_service")
"""What the role of a service needs."""

_MIGRATE = """
LOCK TABLE keyturn_events IN ACCESS EXCLUSIVE MODE;
ALTER TABLE keyturn_events ALTER COLUMN notification_id DROP DEFAULT;
DROP SEQUENCE keyturn_events_notification_id_seq;
ALTER TABLE keyturn_events ALTER COLUMN notification_id ADD GENERATED ALWAYS AS IDENTITY;
SELECT setval('keyturn_events_notification_id_seq', max(notification_id))
    FROM keyturn_events WHERE notification_id < 4611686018427387904 HAVING count(*) > 0;
DROP INDEX IF EXISTS keyturn_events_alien_topics;
CREATE INDEX keyturn_events_topic_idx ON keyturn_events (topic);
DO $keyturn$
DECLARE
    grantee text;
BEGIN
    FOR grantee IN
        SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC'
               ELSE quote_ident(pg_get_userbyid(a.grantee)) END
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = 'keyturn_events'::regclass AND a.grantee <> c.relowner
            AND a.privilege_type = 'INSERT'
    LOOP
        EXECUTE 'REVOKE INSERT ON keyturn_events FROM ' || grantee;
        EXECUTE 'GRANT INSERT (originator_id, originator_version, topic, state)'
            ' ON keyturn_events TO ' || grantee;
        EXECUTE 'GRANT SELECT ON SEQUENCE keyturn_events_notification_id_seq TO ' || grantee;
    END LOOP;
END $keyturn$;
COMMENT ON TABLE keyturn_events IS 'Keyturn log, schema 2';
"""

MIGRATION_SQL = f"BEGIN;{_MIGRATE}COMMIT;"
"""What the owner of a table of version 0.1 runs, if no opening as the owner does it."""

_KINDS = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "p": "a partitioned table",
}
_COLUMNS = [
    "PRIMARY KEY (originator_id, originator_version)",
    "notification_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY",
    "originator_id uuid NOT NULL",
    "originator_version bigint NOT NULL",
    "state bytea",
    "topic text",
]
_LOOK = """
SELECT n.nspname, c.oid::regclass::text, c.oid, c.relkind,
    coalesce(obj_description(c.oid, 'pg_class'), ''),
    ARRAY(
        SELECT attname || ' ' || format_type(atttypid, atttypmod)
            || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
            || CASE WHEN attidentity = 'a' THEN ' GENERATED ALWAYS AS IDENTITY' ELSE '' END
            || CASE WHEN attidentity = 'd' OR attgenerated <> ''
                OR attcollation NOT IN (0, 100)  -- 100 is the database's own
                THEN ' (altered)' ELSE '' END
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
        UNION ALL SELECT pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p'),
    ARRAY(
        SELECT 'has a rule, ' || rulename || ': drop it' FROM pg_rewrite WHERE ev_class = c.oid
        UNION ALL SELECT 'has a trigger, ' || tgname || ': drop it'
        FROM pg_trigger WHERE tgrelid = c.oid AND NOT tgisinternal
        UNION ALL SELECT 'has a constraint, ' || conname || ': drop it'
        FROM pg_constraint WHERE conrelid = c.oid AND contype NOT IN ('p', 'n')
        UNION ALL SELECT 'has an index that computes, ' || indexrelid::regclass || ': drop it'
        FROM pg_index WHERE indrelid = c.oid AND (indexprs IS NOT NULL OR indpred IS NOT NULL)
        UNION ALL SELECT 'has row-level security, which hides rows: disable it, drop its policies'
        WHERE c.relrowsecurity OR c.relforcerowsecurity
            OR EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid)
        UNION ALL SELECT 'is a part or parent of another table: detach it'
        WHERE EXISTS (SELECT FROM pg_inherits WHERE c.oid IN (inhrelid, inhparent))
        UNION ALL SELECT 'does not outlive a crash: SET LOGGED' WHERE c.relpersistence <> 'p'),
    CASE WHEN has_sequence_privilege(insertable.sequence, 'SELECT')
        THEN insertable.sequence END,
    quote_ident(current_user), pg_has_role(c.relowner, 'USAGE'),
    has_table_privilege(c.oid, 'SELECT'), insertable.others, insertable.number,
    has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
        OR has_any_column_privilege(c.oid, 'UPDATE')
FROM unnest(%s::text[]) WITH ORDINALITY AS path (name, place)
JOIN pg_namespace n ON n.nspname = path.name AND has_schema_privilege(n.oid, 'USAGE')
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'keyturn_events',
LATERAL (
    SELECT coalesce(bool_and(may) FILTER (WHERE NOT is_number), false) AS others,
        coalesce(bool_and(may) FILTER (WHERE is_number), false) AS number,
        max(CASE WHEN is_number AND c.relkind = 'r' THEN
            pg_get_serial_sequence(c.oid::regclass::text, attname) END) AS sequence
    FROM (
        SELECT attname, attname = 'notification_id' AS is_number,
            has_column_privilege(c.oid, attnum, 'INSERT') AS may
        FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    ) AS columns
) AS insertable
ORDER BY path.place
"""
_NUMBERS = """
SELECT last_value, is_called, (SELECT coalesce(max(notification_id), 0) FROM {table})
FROM {sequence}
"""
_HEAD = """
SELECT (SELECT ROW (notification_id, xmin)::text FROM {table}
        WHERE notification_id <= last_value ORDER BY notification_id DESC LIMIT 1),
    (SELECT ROW (notification_id, xmin)::text FROM {table}
        ORDER BY notification_id DESC LIMIT 1),
    pg_stat_get_tuples_updated({oid}), pg_stat_get_tuples_deleted({oid})
FROM {sequence}
"""


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
        kind: "r" for a table.
        columns: and the primary key.
        alterations: what can make it lie, and what to do about that.
        sequence: that gives numbers to rows, as a statement has it; None if there is none, or
            none that this role may read.
    """

    schema: str
    name: str
    oid: int
    kind: str
    comment: str
    columns: list[str]
    alterations: list[str]
    sequence: str | None
    rights: Rights

    @property
    def version(self) -> int | None:
        """The version of the schema; None if it is not of Keyturn."""
        number = self.comment.removeprefix(_MARK)
        return int(number) if number != self.comment and number.isdecimal() else None

    @property
    def grants(self) -> str:
        """The statements that give this role what a service needs."""
        return _GRANT.format(table=self.name, role=self.rights.role).replace("\n", " ")

    @property
    def head_statement(self) -> str:
        """A statement whose row differs once anything was committed to the table.

        It asks for the newest row twice: with the highest number, and with the highest that the
        sequence gave. Without the sequence it asks whether any transaction of the server ended.
        """
        if self.sequence is None:
            return "SELECT pg_current_snapshot()::text"
        return _HEAD.format(table=self.name, sequence=self.sequence, oid=self.oid)


def look(connection: Connection, *schemas: str) -> list[Relation]:
    """Return all relations that could be taken for our table, in the order of the path.

    Args:
        connection: of the role that would read it.
        schemas: where to look, if not in the whole search_path.
    """
    rows = connection.execute(_LOOK, (list(schemas) or connection.search_path,)).fetchall()
    return [Relation(*(*row[:8], Rights(*row[8:]))) for row in rows]


def problems(relations: Sequence[Relation], oid: int | None = None) -> list[str]:
    """Return what is wrong with what stands there: a line each.

    Args:
        relations: what `look` found.
        oid: of the table that was opened.
    """
    if not relations:
        return ["the table of the log is gone: put back a copy of it"]
    first = relations[0]
    if first.kind != "r":
        what = _KINDS.get(first.kind, "no table")
        found = [f"{first.name} is {what}: put back the table that Keyturn made"]
    else:
        found = [f"the table {first.name} {what}" for what in first.alterations]
        if sorted(first.columns) != _COLUMNS:
            found.append(
                f"the columns or the primary key of {first.name} are not those of Keyturn"
            )
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
    ask = _NUMBERS.format(table=relation.name, sequence=relation.sequence)
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
    is_table = len(relations) == 1 and relations[0].kind == "r"
    if is_table and _version(relations[0]) < SCHEMA_VERSION:
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
    schema = connection.schema
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (lock_number(schema),))
        if look(connection, schema):
            return  # of several first openers one makes the table
        try:
            connection.execute(_in_schema(schema) + _CREATE)
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
    statements = _in_schema(relation.schema) + _MIGRATE
    if not relation.rights.is_owner:
        raise unavailable(
            location,
            "its table is of an older version of Keyturn: stop every process of that version, "
            f"and have the owner of the table open the log or run: BEGIN; {statements}COMMIT;",
        )
    with connection.transaction():
        connection.execute(f"LOCK TABLE {relation.name} IN ACCESS EXCLUSIVE MODE")
        again = look(connection, relation.schema)
        if again and again[0].version == relation.version:  # another process may have done it
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
