-- Writes one column of a chain or an asset. {table} and {column} are names out of pipeline/config/terms.py, never
-- out of what a person typed.
UPDATE {table} SET {column} = %(value)s WHERE id = %(id)s
