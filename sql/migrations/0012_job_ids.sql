-- New jobs get ids in the order of time (UUID version 7, RFC 9562: milliseconds since 1970, then chance).
--
-- Random ids spread the three versions that each job leaves behind over the whole primary key: three pages of it are read,
-- written and logged for one job, and at 10,000,000 jobs none of them is in memory. In the order of time the live jobs
-- share a few pages at its end. Spelled out, because uuidv7() is not there before Postgres 18. Ids that exist stay.
ALTER TABLE job_logs ALTER COLUMN id SET DEFAULT (
    lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')
        || '-7' || substr(gen_random_uuid()::text, 16)
)::uuid;
