-- How the whole is, in one row.
SELECT health, reasons, workers, failing, jobs_due, oldest_due, payments_out, oldest_payment, notification_queue FROM system_health()
