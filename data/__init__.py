# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""From files to batches: reads audio, labels and events, loads and splits datasets, and makes batches."""
