-- What auto-scaling would do now, and which engine carries it out.
SELECT d.type, d.blockchain, d.depth, d.workers, d.wanted, d.reason, scaling_engine() AS engine FROM scaling_decisions() d
