"""A simulated TRON network over HTTP, strict like java-tron, for the demo and the tests.

``server.serve`` runs it, ``client.DevnetClient`` controls it. Of ``pipeline.chains`` it takes only the means to
declare messages, not one declaration: what the provider encodes is read here by a table of field numbers of its own.
"""
