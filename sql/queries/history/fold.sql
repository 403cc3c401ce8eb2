-- Folds deltas into the counts of ended jobs (sql/functions/job_counts.sql); how many.
SELECT fold_job_counts(%(deltas)s)
