"""The chain families that there are: where a new one is entered, once by its codec and once by its provider."""
