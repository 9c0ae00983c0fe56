# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Adapters by which the encoders of polyaudio enter the benchmark suites of others: HEAR, X-ARES, EVAR, MTEB."""
