-- Auto-scaling, carried out where an engine is set: what it changed.
SELECT type, blockchain, depth, workers, wanted, reason FROM scale_by_load()
