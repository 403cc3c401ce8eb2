-- When a worker was told something: whether it has obeyed in time is judged by that. `updated_at` is renewed by every heartbeat.
--
-- Guarantees: triggers/worker_commands.sql writes it with each command, whoever gives it; NULL: nothing was told yet.

ALTER TABLE worker_registry ADD COLUMN told_at timestamptz;
