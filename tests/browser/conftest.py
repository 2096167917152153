import pytest

import fixtures_result as shared
from assay.core.records import Ceilings, Result, Round


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
