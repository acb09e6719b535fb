"""The statements that make, migrate and look at the table of a log in PostgreSQL."""

from __future__ import annotations

from keyturn.config.store import SCHEMA_VERSION

TABLE = "keyturn_events"

CREATE = f"""
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
COMMENT ON TABLE keyturn_events IS 'Keyturn log, schema {SCHEMA_VERSION}';
"""
"""The comment tells our table from another application's."""

# No service chooses the numbers of rows, by which others notice changes.
GRANT = """\
GRANT SELECT ON {table} TO {role};
GRANT INSERT (originator_id, originator_version, topic, state) ON {table} TO {role};
GRANT SELECT ON SEQUENCE {table}_notification_id_seq TO {role};"""

GRANT_SQL = GRANT.format(table=TABLE, role="keyturn_service")
"""What the role of a service needs."""

MIGRATE = """
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

MIGRATION_SQL = f"BEGIN;{MIGRATE}COMMIT;"
"""What the owner of a table of version 0.1 runs, if no opening as the owner does it."""

LOOK = """
SELECT n.nspname, c.oid::regclass::text, c.oid, c.relkind = 'r',
    substring(obj_description(c.oid, 'pg_class') from '^Keyturn log, schema ([0-9]{1,9})$')::int,
    ARRAY(
        SELECT 'is no table: put back the one that Keyturn made' WHERE c.relkind <> 'r'
        UNION ALL SELECT 'has columns or a primary key that are not those of Keyturn'
        WHERE c.relkind = 'r' AND ARRAY(
            SELECT line FROM (
                SELECT attname || ' ' || format_type(atttypid, atttypmod)
                    || CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END
                    || CASE WHEN attidentity = 'a' THEN ' GENERATED ALWAYS' ELSE '' END
                    || CASE WHEN attidentity = 'd' OR attgenerated <> ''
                        OR attcollation NOT IN (0, 100)  -- 100 is the database's own
                        THEN ' (altered)' ELSE '' END AS line
                FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
                UNION ALL SELECT pg_get_constraintdef(oid)
                FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p'
            ) AS lines ORDER BY line COLLATE "C"
        ) <> ARRAY['PRIMARY KEY (originator_id, originator_version)',
            'notification_id bigint NOT NULL GENERATED ALWAYS', 'originator_id uuid NOT NULL',
            'originator_version bigint NOT NULL', 'state bytea', 'topic text']
        UNION ALL SELECT 'has a rule, ' || rulename || ': drop it'
        FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN'
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
    (SELECT CASE WHEN has_sequence_privilege(objid, 'SELECT') THEN objid::regclass::text END
        FROM pg_depend WHERE refobjid = c.oid AND refobjsubid > 0 AND deptype = 'i'),
    quote_ident(current_user), pg_has_role(c.relowner, 'USAGE'),
    has_table_privilege(c.oid, 'SELECT'), insertable.others, insertable.number,
    has_table_privilege(c.oid, 'DELETE, TRUNCATE, TRIGGER')
        OR has_any_column_privilege(c.oid, 'UPDATE')
FROM unnest(%s::text[]) WITH ORDINALITY AS path (name, place)
JOIN pg_namespace n ON n.nspname = path.name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'keyturn_events',
LATERAL (
    SELECT bool_and(may) FILTER (WHERE attname <> 'notification_id') AS others,
        bool_or(may AND attname = 'notification_id') AS number
    FROM pg_attribute, has_column_privilege(c.oid, attnum, 'INSERT') AS may
    WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped
) AS insertable
ORDER BY path.place
"""
"""What stands under the name of our table in each schema of a search_path: see `Relation`."""

NUMBERS = """
SELECT last_value, is_called, (SELECT coalesce(max(notification_id), 0) FROM {table})
FROM {sequence}
"""
HEAD = """
SELECT (SELECT ROW (notification_id, xmin)::text FROM {table}
        WHERE notification_id <= last_value ORDER BY notification_id DESC LIMIT 1),
    (SELECT ROW (notification_id, xmin)::text FROM {table}
        ORDER BY notification_id DESC LIMIT 1),
    pg_stat_get_tuples_updated({oid}), pg_stat_get_tuples_deleted({oid})
FROM {sequence}
"""
