import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from assay.core.records import Ceilings, Result, Round


def _shared() -> ModuleType:
    path = next(
        parent / "fixtures_result.py" for parent in Path(__file__).parents if (parent / "fixtures_result.py").exists()
    )
    spec = importlib.util.spec_from_file_location("fixtures_result", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = _shared()


@pytest.fixture(scope="session")
def result() -> Result:
    made: Result = shared.make_result()
    return made


@pytest.fixture(scope="session")
def rounds() -> tuple[Round, ...]:
    made: tuple[Round, ...] = shared.make_rounds()
    return made


@pytest.fixture(scope="session")
def ceilings() -> Ceilings:
    made: Ceilings = shared.make_ceilings()
    return made
