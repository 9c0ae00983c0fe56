# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The command line: a file for each command, which parses arguments, calls the library and prints."""
