# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How good a model is: metrics, intervals, scores, probes, tables and plots."""
