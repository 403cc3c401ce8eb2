"""Local mode: the whole pipeline on one machine, with an embedded server and a simulated network.

``flagpost up`` is for people to watch (supervisor, story, customers); ``flagpost demo`` runs the same
processes unattended and reads the result from the chain (fleet, demo, audit). Nothing here runs in
production: that is the Procfile alone.
"""
