"""A simulated TRON network over HTTP, strict like java-tron, for the demo and the tests.

``server.serve`` runs it, ``client.DevnetClient`` controls it. It shares no code with ``pipeline.chains``: what
the provider encodes is checked here by other hands (tronpy's protobuf classes).
"""
