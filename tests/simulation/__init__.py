"""The workers' own code in one process: every await is a place to die, and the clock is in the test's hands.

loop         the event loop of one simulated process: it runs one step at a time, when it is told
clock        the time that all of them share, which passes only when nobody has anything left to do
database     a real Postgres behind connections that can be lost at any round trip, and its clock
node         what stands in for HTTP: a node's answers, late, lost, doubled and false
tron, evm    the two networks
process      a worker with everything of its process; killing it runs none of its clean-up
fault_plan   the seeded decisions: what is to go wrong where, written down so that a run can be repeated
storm        what befalls the network, the database and the operators meanwhile
judge        what must hold in the end, read from the chain first and from the records second
run          one run: set-up, storm, calm, judgement
shrink       the fewest decisions that still fail
"""
