# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Asks once whether the Hub answers.

For each file that was not downloaded before, huggingface_hub tries for 23 seconds to reach the Hub. Loading a model
asks for about eight files, most of which it need not have.
"""

import os


def hub_is_silent(model: str) -> bool:
    """
    Whether the Hub does not answer, so that only downloaded files can be read (`local_files_only`).

    Args:
        model: a Hub name, for which the Hub is asked; or a folder, or a name that cannot be on the Hub, for which
            nobody is asked. Nobody is asked in offline mode (`HF_HUB_OFFLINE=1`) either.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if os.path.isdir(model) or not could_be_on_hub(model) or is_offline_mode():
        return False
    try:
        get_hf_file_metadata(hf_hub_url(model, "config.json"))
    except HfHubHTTPError:  # an answer
        return False
    except HTTPError:
        return True
    return False


def could_be_on_hub(name: str) -> bool:
    """Whether a name has the form of those on the Hub. Most paths do not."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
