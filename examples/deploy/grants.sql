-- What the service's role may do: read and append, and nothing else. Run it as the owner, after `keyturn init`.
\set ON_ERROR_STOP on
\getenv service_password SERVICE_PASSWORD
CREATE ROLE keyturn_service LOGIN PASSWORD :'service_password';
GRANT SELECT ON keyturn_events TO keyturn_service;
GRANT INSERT (originator_id, originator_version, topic, state) ON keyturn_events TO keyturn_service;
GRANT SELECT ON SEQUENCE keyturn_events_notification_id_seq TO keyturn_service;
