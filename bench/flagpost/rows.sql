-- Where bench/hops.py commits rows.
CREATE TABLE hops (n integer)
