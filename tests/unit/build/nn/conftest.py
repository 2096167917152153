"""A counter of torch's operations for the tests of leaf modules."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.fixture
def count_operations():
    """How many operations but views a call dispatches."""

    class Counter(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += not func.is_view
            return func(*args, **(kwargs or {}))

    def count(call):
        with torch.no_grad(), Counter() as counter:
            call()
        return counter.count

    return count
