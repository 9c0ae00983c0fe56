# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Training: arguments, recipes, fine-tuning, pre-training, the Trainer and LoRA."""
