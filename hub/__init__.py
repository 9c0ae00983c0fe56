# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Sharing models on the Hugging Face Hub: model cards and uploads."""
