# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio push` against a Hub on this machine, through the real client."""

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard
from safetensors.numpy import load, save_file

from hub_server import READ_TOKEN, WRITE_TOKEN, HubServer
from polyaudio.scripts.push import main as push_here


# Between tries the client waits for many seconds
PUSH = """
import sys, time
time.sleep = lambda seconds: None
from polyaudio.scripts.push import main
code = main(sys.argv[1:])
print("torch" in sys.modules, file=sys.stderr)
sys.exit(code)
"""
CARD = "content of README.md ![](figures/confusion.png)\n"
PUSHED = {"README.md", "config.json", "model.safetensors", "modeling_x.py", "figures/confusion.png"}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A model as a run leaves it."""
    folder = tmp_path / "run"
    for name in ("figures", "checkpoint-3", "_saving", ".cache"):
        (folder / name).mkdir(parents=True)
    auto_map = {"AutoConfig": "modeling_x.X", "AutoTokenizer": "somebody/else--tokenization.X"}
    (folder / "config.json").write_text(json.dumps({"model_type": "sam_audio", "auto_map": auto_map}))
    save_file({"weight": np.arange(50000, dtype=np.float32)}, folder / "model.safetensors")
    for name in (
        "README.md",
        "modeling_x.py",
        "figures/confusion.png",
        "checkpoint-3/model.safetensors",
        "_saving/model.safetensors",
        ".cache/secret",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training_args.bin",
        "trainer_state.json",
    ):
        (folder / name).write_text(f"content of {name}\n")
    (folder / "README.md").write_text(CARD)
    return folder


def push(hub: HubServer, home: Path, *arguments: str, token: str | None = WRITE_TOKEN) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(home)}
    if token is not None:
        environment["HF_TOKEN"] = token
    return subprocess.run(
        [sys.executable, "-c", PUSH, *map(str, arguments)], env=environment, capture_output=True, text=True
    )


def error_of(done: subprocess.CompletedProcess) -> str:
    """The one line that an error is."""
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("polyaudio push:")]
    assert "Traceback" not in done.stderr
    for token in (WRITE_TOKEN, READ_TOKEN):
        assert token not in done.stdout + done.stderr
    return line


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_push_and_push_again(hub, folder, tmp_path):
    done = push(hub, tmp_path, folder, "tester/ragas", "--private", "--message", "First")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "False", "to push, torch is not needed"
    assert "200 kB  model.safetensors" in done.stdout
    repo = hub.repo("tester/ragas")
    assert done.stdout.splitlines()[-1] == f"{hub.endpoint}/tester/ragas/commit/{repo.branches['main']}"
    files = hub.files("tester/ragas")
    assert set(files) == PUSHED | {".gitattributes"}
    assert all(files[name] == (folder / name).read_bytes() for name in PUSHED)
    assert repo.private
    assert repo.commits[repo.branches["main"]].message == "First"

    # the same name again: an update, of what has changed, and weights that are no more are taken away
    (folder / "README.md").write_text("New\n")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    hub.requests.clear()
    done = push(hub, tmp_path, folder, "tester/ragas", "--private")
    assert done.returncode == 0, done.stderr
    files = hub.files("tester/ragas")
    assert files["README.md"] == b"New\n"
    shards = {"model-00001-of-00001.safetensors", "model.safetensors.index.json"}
    assert set(files) == PUSHED - {"model.safetensors"} | shards | {".gitattributes"}
    assert not [request for request in hub.requests if request.startswith("PUT")], "the weights are there already"


def test_a_branch_of_its_own(hub, folder, tmp_path):
    assert push(hub, tmp_path, folder, "tester/ragas").returncode == 0
    (folder / "README.md").write_text("Step 500\n")
    assert push(hub, tmp_path, folder, "tester/ragas", "--revision", "step-500").returncode == 0
    assert hub.files("tester/ragas", "step-500")["README.md"] == b"Step 500\n"
    assert hub.files("tester/ragas")["README.md"] == CARD.encode()
    assert push(hub, tmp_path, folder, "tester/ragas", "--revision", "step-500").returncode == 0


def test_a_dry_run_lists_and_calls_nobody(hub, folder, tmp_path):
    done = push(hub, tmp_path, folder, "tester/ragas", "--private", "--dry-run", token=None)
    assert done.returncode == 0, done.stderr
    pushed, _, stays = done.stdout.partition("Not pushed:\n")
    first, *listed, total = pushed.splitlines()
    assert first == "To be pushed to tester/ragas, main, private:"
    assert {"optimizer.pt", "training_args.bin", "checkpoint-3/"} <= {line.strip() for line in stays.splitlines()}
    assert {line.split()[-1] for line in listed} == PUSHED
    assert total.endswith("in 5 files")
    assert hub.requests == []


def test_an_adapter_goes_up_too(hub, folder, tmp_path):
    for name in ("model.safetensors", "config.json"):
        (folder / name).unlink()
    base = {"base_model_name_or_path": "tester/base", "r": 8}
    (folder / "adapter_config.json").write_text(json.dumps(base))
    save_file({"lora": np.zeros(3)}, folder / "adapter_model.safetensors")
    error = error_of(push(hub, tmp_path, folder, "tester/adapter"))
    assert "tester/base, the base of the adapter, is not on the Hub" in error
    assert hub.repos == {}
    hub.add_repo("tester/base")
    assert push(hub, tmp_path, folder, "tester/adapter").returncode == 0
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(hub.files("tester/adapter"))
    assert json.loads(hub.files("tester/adapter")["adapter_config.json"]) == base


def test_examples_to_try_on_the_page(hub, folder, tmp_path):
    (tmp_path / "A dog.wav").write_bytes(b"RIFF")
    done = push(hub, tmp_path, folder, "tester/ragas", "--examples", tmp_path / "A dog.wav")
    assert done.returncode == 0, done.stderr
    assert "examples/A dog.wav" in done.stdout
    files = hub.files("tester/ragas")
    assert files["examples/A dog.wav"] == b"RIFF"
    (example,) = ModelCard(files["README.md"].decode()).data.widget
    address = f"{hub.endpoint}/tester/ragas/resolve/main/examples/A%20dog.wav"
    assert example == {"example_title": "A dog", "src": address}
    assert ModelCard(files["README.md"].decode()).text.strip() == CARD.strip()
    with urllib.request.urlopen(address) as answer:
        assert answer.read() == b"RIFF"
    error = error_of(push(hub, tmp_path, folder, "tester/ragas", "--examples", tmp_path / "gone.wav"))
    assert "there is no file" in error


@pytest.mark.slow
def test_no_token_a_wrong_one_and_one_for_reading(hub, folder, tmp_path):
    before = content(folder)
    error = error_of(push(hub, tmp_path, folder, "tester/ragas", token=None))
    assert "there is no token" in error
    assert "hf auth login" in error
    error = error_of(push(hub, tmp_path, folder, "tester/ragas", token="hf_wrong_0123456789"))
    assert "does not accept the token" in error
    assert "hf_wrong" not in error
    error = error_of(push(hub, tmp_path, folder, "tester/ragas", token=READ_TOKEN))
    assert "may not write to tester/ragas" in error
    assert "right to write" in error
    error = error_of(push(hub, tmp_path, folder, "somebody/ragas"))
    assert "may not write to somebody/ragas" in error
    assert hub.repos == {}
    assert content(folder) == before


def test_a_connection_that_breaks_and_heals_within_a_push(hub, folder, tmp_path):
    hub.cut_uploads = 2
    assert push(hub, tmp_path, folder, "tester/ragas").returncode == 0
    assert sum(request.startswith("CUT") for request in hub.requests) == 2
    assert hub.files("tester/ragas")["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_second_push_finishes_what_a_broken_connection_left(hub, folder, tmp_path):
    before = content(folder)
    hub.cut_uploads = 1000
    error = error_of(push(hub, tmp_path, folder, "tester/ragas"))
    assert "broke" in error
    assert f"{folder} is as it was. To finish, run: polyaudio push {folder} tester/ragas (" in error
    assert content(folder) == before
    assert set(hub.files("tester/ragas")) == {".gitattributes"}, "nothing half arrives"
    hub.heal()
    assert push(hub, tmp_path, folder, "tester/ragas").returncode == 0
    assert set(hub.files("tester/ragas")) == PUSHED | {".gitattributes"}
    weights = load(hub.files("tester/ragas")["model.safetensors"])["weight"]
    assert np.array_equal(weights, np.arange(50000, dtype=np.float32))


def test_no_hub_there(folder, tmp_path):
    with HubServer() as hub:
        pass
    assert "broke" in error_of(push(hub, tmp_path, folder, "tester/ragas"))


@pytest.mark.parametrize(("status", "expected"), [(409, "somebody else changed"), (413, "status 413")])
def test_refusals_of_a_commit_tell_what_to_do(hub, folder, tmp_path, status, expected):
    hub.fail("POST .*/commit/", status, "No way")
    error = error_of(push(hub, tmp_path, folder, "tester/ragas"))
    assert expected in error
    assert "No way" in error


def test_a_public_repository_is_not_taken_for_a_private_one(hub, folder, tmp_path):
    assert push(hub, tmp_path, folder, "tester/ragas").returncode == 0
    error = error_of(push(hub, tmp_path, folder, "tester/ragas", "--private"))
    assert "exists and is public" in error


def test_no_incomplete_model_goes_up(folder, tmp_path, capsys):
    def error_after(name: str, new: bytes | None) -> str:
        old = (folder / name).read_bytes() if (folder / name).is_file() else None
        if new is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(new)
        assert push_here([str(folder), "tester/ragas", "--dry-run"]) == 2
        if old is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(old)
        return capsys.readouterr().err

    weights = (folder / "model.safetensors").read_bytes()
    assert "not a complete model" in error_after("model.safetensors", weights[:-1])
    assert "not a complete model" in error_after("model.safetensors", b"")
    assert "not a complete model" in error_after("model.safetensors", None)
    assert "not a complete model" in error_after("config.json", None)
    assert "not a complete model" in error_after("config.json", b'{"model_type": ')
    assert "lacks: modeling_x.py" in error_after("modeling_x.py", None)
    assert "not a complete adapter" in error_after("adapter_config.json", b"{}")
    assert push_here([str(tmp_path / "nowhere"), "tester/ragas", "--dry-run"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert push_here([str(folder), "tester/ragas", "--dry-run"]) == 0
    assert capsys.readouterr().err == ""


def test_a_missing_shard_is_noticed(folder, capsys):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert push_here([str(folder), "tester/ragas", "--dry-run"]) == 2
    assert "model-00002-of-00002.safetensors" in capsys.readouterr().err


def test_a_model_without_code_is_pushed_with_a_word_about_it(folder, capsys):
    (folder / "config.json").write_text('{"model_type": "sam_audio"}')
    assert push_here([str(folder), "tester/ragas", "--dry-run"]) == 0
    assert "only those who have polyaudio" in capsys.readouterr().err


def test_only_what_belongs_to_a_model_is_pushed(hub, folder, tmp_path):
    """Not whatever else lies in the folder; the dry run says what stays."""
    strangers = ["id_rsa", "secrets.json", ".env", "notes.txt", "helper.py", "data/clip.wav", "figures/draft.png"]
    for name in strangers:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("secret")
    (folder / "modeling_x.py").write_text("from .layers import Layer\n")
    (folder / "layers.py").write_text("import torch\n")
    (folder / "README.md").write_text(CARD + '![](../../etc/passwd.png) ![](https://x.y/z.png) <img src="losses.png">')
    (folder / "losses.png").write_text("a picture")
    done = push(hub, tmp_path, folder, "tester/ragas", "--dry-run")
    assert done.returncode == 0, done.stderr
    stay = {line.strip() for line in done.stdout.partition("Not pushed:\n")[2].splitlines()}
    assert {"id_rsa", "secrets.json", ".env", "notes.txt", "helper.py", "data/", "figures/draft.png"} <= stay
    assert {"optimizer.pt", "training_args.bin", "checkpoint-3/"} <= stay
    assert push(hub, tmp_path, folder, "tester/ragas").returncode == 0
    assert set(hub.files("tester/ragas")) == PUSHED | {"layers.py", "losses.png", ".gitattributes"}


def test_an_index_that_points_outside_is_refused(folder, tmp_path, capsys):
    save_file({"weight": np.zeros(3, np.float32)}, tmp_path / "private.safetensors")
    (folder / "model.safetensors").unlink()
    for name in ("../private.safetensors", str(tmp_path / "private.safetensors"), 7, None, "id_rsa"):
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"weight": name}}))
        assert push_here([str(folder), "tester/ragas", "--dry-run"]) == 2
        assert "must name files like model-00001-of-00002.safetensors" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["README.md", "losses.png", "modeling_x.py", "model.safetensors"])
def test_a_link_that_leads_outside_is_refused(folder, tmp_path, capsys, name):
    outside = tmp_path / "outside"
    outside.write_bytes((folder / name).read_bytes() if (folder / name).exists() else b"secret")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    assert push_here([str(folder), "tester/ragas", "--dry-run"]) == 2
    assert "is a link that leads out of the folder" in capsys.readouterr().err
