# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Work on datasets before training: chunks, mixtures, inspection, statistics, overlaps and leaks."""
