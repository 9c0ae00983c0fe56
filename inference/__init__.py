# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Inference on files and datasets: reading, windows, labels, events and features."""
