-- Names of the old table of chains, for wallets that name theirs by id.
SELECT coalesce(jsonb_agg(jsonb_build_object('id', to_jsonb(t) ->> 'id', 'name', to_jsonb(t) ->> 'name')), '[]') AS chains
FROM adopted.chains t;
