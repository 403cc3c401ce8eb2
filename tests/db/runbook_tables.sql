-- A database as the runbooks' five files leave it, on Supabase, after months of work: what `flagpost adopt` takes over.
CREATE SCHEMA auth;
CREATE TABLE auth.users (id uuid PRIMARY KEY, email text, raw_user_meta_data jsonb, created_at timestamptz DEFAULT now());
INSERT INTO auth.users (id, email) VALUES
    ('00000000-0000-4000-8000-000000000001', 'ann@example.com'), ('00000000-0000-4000-8000-000000000002', 'bob@example.com');
CREATE FUNCTION auth.uid() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT current_setting('request.jwt.claim.sub', true)::uuid $$;

CREATE TYPE public.wallet_network AS ENUM ('TRON', 'BSC', 'TRX mainnet', 'erc20');
CREATE TABLE public.user_wallets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid REFERENCES auth.users (id) ON DELETE CASCADE,
    address text UNIQUE,
    network public.wallet_network,
    balance text,
    on_chain_balance text,
    trx_balance numeric(20, 6) DEFAULT 0,
    needs_gas boolean DEFAULT false,
    needs_consolidation boolean,
    last_sync timestamptz,
    label text,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE TABLE public.job_logs (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    job_id text UNIQUE,
    job_type text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    wallet_address text,
    user_id uuid,
    triggered_by text,
    data jsonb,
    error_message text,
    retry_count integer DEFAULT 0,
    max_retries integer DEFAULT 3,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz DEFAULT now(),
    updated_at timestamptz DEFAULT now()
);
CREATE TABLE public.admin_actions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), admin_user_id uuid, action_type text, target_id text, target_type text,
    details jsonb, created_at timestamptz DEFAULT now()
);
CREATE TABLE public.system_config (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), key text UNIQUE NOT NULL, value jsonb, description text,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now()
);
CREATE TABLE public.worker_registry (id text PRIMARY KEY, name text, status text);
INSERT INTO worker_registry VALUES ('w1', 'gas', 'running');

-- The operator's own: invoices name their wallet, tickets their job, and something reacts to each change.
CREATE TABLE public.invoices (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    wallet_id uuid NOT NULL CONSTRAINT invoices_wallet REFERENCES public.user_wallets (id) ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED,
    amount numeric
);
CREATE TABLE public.tickets (id bigint PRIMARY KEY, job text CONSTRAINT tickets_job REFERENCES public.job_logs (job_id) ON DELETE SET NULL);
CREATE VIEW public.rich_wallets AS SELECT address FROM public.user_wallets WHERE trx_balance > 100;
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER wallets_touch BEFORE UPDATE ON public.user_wallets FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE FUNCTION public.get_job_queue_stats() RETURNS TABLE (job_type text, n bigint) LANGUAGE sql
AS $$ SELECT job_type, count(*) FROM public.job_logs GROUP BY 1 $$;
ALTER TABLE public.user_wallets ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.job_logs ENABLE ROW LEVEL SECURITY;
CREATE POLICY "Users see their own wallets" ON public.user_wallets FOR SELECT USING (auth.uid() = user_id);
CREATE POLICY "Rich ones" ON public.user_wallets FOR SELECT USING (trx_balance > 5);
CREATE POLICY "Users see their jobs" ON public.job_logs FOR SELECT USING (auth.uid() = user_id);
CREATE PUBLICATION runbook_realtime FOR TABLE public.job_logs;
