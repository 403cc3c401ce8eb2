"""One module a measure: ``async def measure(bench) -> list[Result]``."""
