# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Sound to model input, in batches, on any device."""

# The Auto classes come first: their import registers the modules of this package, which import them in turn.
import transformers.models.auto.feature_extraction_auto  # noqa: F401
