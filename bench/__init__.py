"""The project and its peers side by side, in one run, on one server."""
