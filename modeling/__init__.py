# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Model input to answer: the models, their traits, checkpoints of others, and from a name to a model."""

# The Auto classes come first: their import registers the modules of this package, which import them in turn.
import transformers.models.auto.modeling_auto  # noqa: F401
