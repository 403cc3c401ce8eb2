-- Rings a bell of our own, for the NOTIFY round trip. Wakes nobody else: no process listens there.
SELECT pg_notify('flagpost_doctor', %(token)s);
