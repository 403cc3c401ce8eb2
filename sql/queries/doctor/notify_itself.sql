-- Sends a NOTIFY on a channel of doctor's own, for the round trip; no process listens there.
SELECT pg_notify('flagpost_doctor', %(token)s);
