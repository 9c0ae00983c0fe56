# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`python -m polyaudio` is `polyaudio`."""

import sys

from .scripts.__main__ import main


sys.exit(main())
