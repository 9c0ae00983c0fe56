# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The models in transformers: the registry, the Auto classes, adapters, and saving models with their code."""
