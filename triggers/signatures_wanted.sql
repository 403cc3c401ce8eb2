-- Work for somebody with the keys notifies signatures, by chain: {"chain": "bsc"}. That is a payment whose transaction is to
-- be replaced with a higher fee, and a void nonce that a gap is to use.

CREATE OR REPLACE FUNCTION notify_signatures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    PERFORM notify_listeners('signatures', jsonb_build_object('chain', c.name)::text) FROM chains c WHERE c.id = NEW.chain_id;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER signatures_wanted AFTER UPDATE ON transfers
FOR EACH ROW WHEN (NEW.replace_wanted_at IS NOT NULL AND OLD.replace_wanted_at IS DISTINCT FROM NEW.replace_wanted_at)
EXECUTE FUNCTION notify_signatures();

CREATE OR REPLACE TRIGGER signatures_wanted_new AFTER INSERT ON nonces
FOR EACH ROW WHEN (NEW.state = 'void') EXECUTE FUNCTION notify_signatures();
CREATE OR REPLACE TRIGGER signatures_wanted AFTER UPDATE ON nonces
FOR EACH ROW WHEN (NEW.state = 'void' AND OLD.state <> 'void') EXECUTE FUNCTION notify_signatures();
