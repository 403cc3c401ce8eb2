-- Whether an attempt may still be replaced: its payment is out, and nobody has replaced it nor asks for that. Run under the locks of job
-- and payment, in the commit that asks for the signature.
SELECT t.id
  FROM transfers t
 WHERE t.id = %(transfer_id)s AND t.state = 'broadcasting'
   AND (SELECT max(a.id) FROM chain_transactions a WHERE a.bundle_id = %(bundle_id)s) = %(replaces)s
   AND NOT EXISTS (SELECT FROM signing_requests r WHERE r.bundle_id = t.bundle_id AND r.state = 'asked');
