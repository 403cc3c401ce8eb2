-- The payment that fills a gap may be anywhere from this commit on.
UPDATE transfers SET state = 'broadcasting' WHERE id = %(transfer_id)s AND state = 'signed' RETURNING id;
