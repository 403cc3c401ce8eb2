-- How workers of these types, of which none works, come to work.
SELECT how_to_start(t.type) AS start FROM unnest(%(types)s::text[]) WITH ORDINALITY AS t (type, place) ORDER BY t.place
