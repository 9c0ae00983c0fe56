# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""How our models join transformers: the registry, the Auto classes, adapters, and saving with code."""
