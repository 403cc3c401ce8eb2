-- Switches a token on or off: read and consolidated, or left alone.
UPDATE asset_on_chain SET is_active = %(is_active)s WHERE id = %(asset_id)s;
