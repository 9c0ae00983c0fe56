# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""A model over recordings and collections: files, windows, labels, events and features."""
