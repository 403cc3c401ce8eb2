-- Resolves what is open of rules that are not among these; how many.
SELECT close_alerts_of_other_rules(%(rules)s)
