# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Uploads a dataset folder to the Hugging Face Hub."""

import os
import shlex
from pathlib import Path

from huggingface_hub import HfApi

from .push import hub_errors


def push_dataset(folder: str | os.PathLike, repo: str, *, private: bool = False, again: str | None = None) -> str:
    """
    Upload the parquet files and the README.md of a dataset folder, and remove the parquet files that were in `data/`
    of the repository before.

    Args:
        folder: a folder that `build_dataset` wrote.
        repo: the repository. It is created if it does not exist.
        private: create it as a private repository.
        again: the command that tries again, for messages. By default one of `hf`.

    Returns:
        The address of the commit.

    Raises:
        ValueError: the Hub cannot be reached or refuses, or `private` is set and the repository is public.
    """
    folder = Path(folder)
    api, outdated = HfApi(library_name="polyaudio"), "data/*.parquet"
    if again is None:
        words = ["hf", "upload", repo, str(folder), ".", "--repo-type", "dataset"]
        words += ["--include", "README.md", "--include", outdated, "--delete", outdated]
        again = shlex.join([*words, *(["--private"] if private else [])])
    with hub_errors(api.endpoint, repo, folder, again):
        api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
        if private and not api.repo_info(repo, repo_type="dataset").private:
            raise ValueError(
                f"{repo} exists and is public, and an upload does not make it private. Nothing was uploaded from "
                f"{folder}."
            )
        return api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=["README.md", outdated],
            delete_patterns=outdated,
            commit_message="Upload dataset",
        ).commit_url
