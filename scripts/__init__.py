# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The command line. Each command has a file, which parses the arguments, calls the library and prints the results."""
