-- Counts of ended jobs that nobody folds: whoever asks for the figures of the queue adds them up. At most 200,000 are counted.
SELECT count(*) AS deltas FROM (SELECT FROM job_count_deltas LIMIT 200000) d HAVING count(*) > 100000
