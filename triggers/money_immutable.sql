-- What a payment is never changes, and a settled one does not change at all: not for a worker, not for the owner in psql.

CREATE OR REPLACE FUNCTION refuse_changed_money() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF OLD.state IN ('final', 'reverted', 'replaced', 'rejected') THEN
        RAISE EXCEPTION '% % is % and does not change any more', TG_TABLE_NAME, OLD.id, OLD.state USING
            ERRCODE = CASE WHEN OLD.state = NEW.state THEN 'FP004' ELSE 'FP003' END,
            HINT = 'It is settled: money needs a new decision, in a new job.';
    END IF;
    RAISE EXCEPTION '% % cannot become another payment: % never change', TG_TABLE_NAME, OLD.id, TG_ARGV[0] USING
        ERRCODE = 'FP004',
        HINT = 'Move it to rejected if it never left, and let a new job decide.';
END
$$;

CREATE OR REPLACE TRIGGER money_immutable BEFORE UPDATE ON transfers
FOR EACH ROW WHEN (
    -- Every column: the row as a whole cannot be compared here, because one of them is generated (open_job_id).
    (OLD.state IN ('final', 'reverted', 'rejected')
     AND (OLD.state, OLD.fee_paid, OLD.arrived, OLD.place, OLD.replace_wanted_at, OLD.error_message, OLD.settled_at, OLD.updated_at)
         IS DISTINCT FROM
         (NEW.state, NEW.fee_paid, NEW.arrived, NEW.place, NEW.replace_wanted_at, NEW.error_message, NEW.settled_at, NEW.updated_at))
    OR (OLD.id, OLD.kind, OLD.job_id, OLD.chain_id, OLD.wallet_id, OLD.asset_on_chain_id,
        OLD.from_address, OLD.to_address, OLD.amount, OLD.fee_reserved, OLD.idempotency_key, OLD.found_on_chain, OLD.created_at,
        OLD.bundle_id)
    IS DISTINCT FROM
       (NEW.id, NEW.kind, NEW.job_id, NEW.chain_id, NEW.wallet_id, NEW.asset_on_chain_id,
        NEW.from_address, NEW.to_address, NEW.amount, NEW.fee_reserved, NEW.idempotency_key, NEW.found_on_chain, NEW.created_at,
        NEW.bundle_id)
) EXECUTE FUNCTION refuse_changed_money(
    'kind, job, chain, wallet, asset, addresses, amount, reserved fee, bundle and idempotency key');

CREATE OR REPLACE TRIGGER money_immutable BEFORE UPDATE ON chain_transactions
FOR EACH ROW WHEN (
    (OLD.state IN ('final', 'reverted', 'replaced') AND OLD.* IS DISTINCT FROM NEW.*)
    OR (OLD.id, OLD.bundle_id, OLD.request_id, OLD.chain_id, OLD.attempt, OLD.txid, OLD.signed_bytes, OLD.sender,
        OLD.nonce, OLD.ref_block, OLD.expiration, OLD.fee_cap, OLD.found_on_chain, OLD.created_at)
    IS DISTINCT FROM
       (NEW.id, NEW.bundle_id, NEW.request_id, NEW.chain_id, NEW.attempt, NEW.txid, NEW.signed_bytes, NEW.sender,
        NEW.nonce, NEW.ref_block, NEW.expiration, NEW.fee_cap, NEW.found_on_chain, NEW.created_at)
) EXECUTE FUNCTION refuse_changed_money(
    'bundle, request, attempt, txid, signed bytes, sender, nonce, reference block, expiration and fee cap');

-- A request is asked, and then signed or refused, once; what it asks for never changes, or its answer would be another one.
CREATE OR REPLACE FUNCTION check_signing_request() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF OLD.state = NEW.state THEN
        RAISE EXCEPTION 'signing request % is % and does not change any more', OLD.request_id, OLD.state USING ERRCODE = 'FP004';
    ELSIF NOT EXISTS (SELECT FROM state_transitions t
                      WHERE t.subject = 'signing_request' AND t.from_state = OLD.state AND t.to_state = NEW.state) THEN
        RAISE EXCEPTION 'signing request % is % and cannot become %', OLD.request_id, OLD.state, NEW.state USING
            ERRCODE = 'FP003', HINT = 'What may have been signed is asked for again, until the signer answers.';
    ELSIF (OLD.request_id, OLD.bundle_id, OLD.chain_id, OLD.sender, OLD.replaces, OLD.nonce, OLD.ref_block, OLD.expiration,
           OLD.parameters, OLD.unsigned_bytes, OLD.fee_cap, OLD.created_at)
          IS DISTINCT FROM
          (NEW.request_id, NEW.bundle_id, NEW.chain_id, NEW.sender, NEW.replaces, NEW.nonce, NEW.ref_block, NEW.expiration,
           NEW.parameters, NEW.unsigned_bytes, NEW.fee_cap, NEW.created_at) THEN
        RAISE EXCEPTION 'signing request % cannot become another one', OLD.request_id USING ERRCODE = 'FP004';
    END IF;
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER money_immutable BEFORE UPDATE ON signing_requests
FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION check_signing_request();

CREATE OR REPLACE FUNCTION refuse_changed_bundle() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'bundle % does not change', OLD.id USING ERRCODE = 'FP004';
END
$$;

CREATE OR REPLACE TRIGGER money_immutable BEFORE UPDATE ON bundles
FOR EACH ROW EXECUTE FUNCTION refuse_changed_bundle();
