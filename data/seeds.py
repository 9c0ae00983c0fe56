# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Seeds that follow from other numbers, the same in any process."""

import numpy as np


def combined_seed(*numbers: int) -> int:
    """Return one seed for a torch generator from several numbers, none of which may be negative."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)  # torch takes 63 bits
