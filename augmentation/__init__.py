# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Augmentation: random changes of training clips, as waveforms and as batches of features."""
