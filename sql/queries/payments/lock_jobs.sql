-- The jobs behind the payments that are about to change, locked in one order by everybody
-- (job, then payment and attempt), so that a sender and a settlement cannot deadlock.
SELECT id FROM job_logs WHERE id = ANY (%(job_ids)s::uuid[]) ORDER BY id FOR UPDATE;
