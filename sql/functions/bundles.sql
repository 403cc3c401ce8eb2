-- What the payments of one transaction share.

-- The part of a transaction's fee that one of its payments bears: equal parts, and the first one the remainder.
CREATE OR REPLACE FUNCTION share_of_fee(payment transfers, fee numeric) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT CASE WHEN b.payments = 1 THEN fee
                ELSE div(fee, b.payments) + CASE WHEN b.first = payment.id THEN mod(fee, b.payments) ELSE 0 END END
    FROM (SELECT count(*) AS payments, min(t.id) AS first FROM transfers t WHERE t.bundle_id = payment.bundle_id) b
$$;

-- Whether nobody is about to keep the answer to a request: no worker holds its job, or it has waited for longer than a signature
-- takes. Within that time others may reserve the next nonces: two processes that pay from one wallet would else finish one another's
-- requests for ever. One that is not abandoned and is asked for all the same gets the same bytes.
CREATE OR REPLACE FUNCTION is_abandoned(request signing_requests, patience interval) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp
AS $$
    SELECT request.created_at NOT BETWEEN clock_timestamp() - patience AND clock_timestamp() + interval '1 minute'
        OR (request.replaces IS NULL AND EXISTS (
            SELECT FROM transfers t JOIN job_logs j ON j.id = t.job_id
            WHERE t.bundle_id = request.bundle_id
              AND (j.status = 'active' AND NOT j.awaiting_chain AND j.lease_deadline > clock_timestamp()) IS NOT TRUE))
$$;
