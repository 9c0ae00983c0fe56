# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""From files to batches: reading audio, labels, events, splits, collators, and the synthesised ragas."""
