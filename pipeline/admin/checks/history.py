"""Doctor's questions about the history of jobs: whether finished jobs move on, and what waits for a person."""

from pipeline.admin.checks.check import Check
from pipeline.admin.checks.findings import Level

CHECKS = (
    Check(
        "history.months",
        right="job_history has its months",
        statement="history_months",
        says="job_history has no partition for {month}: jobs that ended then cannot move there",
        cure="start sweep, which makes months ahead; attach one that was detached; where it is lost: "
        "SELECT add_history_month('{month}-01'), recount_jobs()",
        level=Level.WARN,
    ),
    Check(
        "history.behind",
        right="finished jobs move to job_history in time",
        statement="history_behind",
        says="{jobs} finished jobs ought to have moved to job_history, the oldest ended {since} ago",
        cure="start sweep; its log says what keeps it from moving them",
        level=Level.WARN,
    ),
    Check(
        "history.exports",
        right="no month waits for its export",
        statement="history_exports",
        says="{month} was to leave job_history on {leaves_on} and {why}: its {jobs} jobs stay until then",
        cure="flagpost history export {month} FILE",
        level=Level.WARN,
    ),
    Check(
        "history.counts",
        right="the counts of ended jobs are folded",
        statement="history_counts",
        says="{deltas} changes of the counts of ended jobs are not folded, which slows get_job_queue_stats() down",
        cure="start sweep, which folds them every 10 s",
        level=Level.WARN,
    ),
)
