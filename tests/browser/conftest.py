from fixtures_result import ceilings, result, rounds

__all__ = ["ceilings", "result", "rounds"]
