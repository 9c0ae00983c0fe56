# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Random changes to training clips: waveforms, batches of features, and the arguments that ask for them."""
