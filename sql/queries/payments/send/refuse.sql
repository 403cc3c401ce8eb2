-- A signature was refused for good: the signer has written down that nothing was signed, and nothing will be. Run under the locks of
-- jobs and payments. No row: it was kept or refused meanwhile.
UPDATE signing_requests
   SET state = 'refused', refusal = %(reason)s
 WHERE request_id = %(request_id)s AND state = 'asked'
RETURNING bundle_id, replaces;
