"""What this host may sign, whatever the database says: a policy beside the keys, and ceilings counted on its disk."""
