"""The named checks of ``flagpost doctor``."""
