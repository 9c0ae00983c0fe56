# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Measuring a model: metrics, intervals, scores, probes, and their tables and plots."""
