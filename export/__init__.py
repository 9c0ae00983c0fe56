# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Models for runtimes other than torch, with or without their feature extractors."""
