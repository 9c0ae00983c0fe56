# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""`polyaudio app`: it serves a page until Ctrl-C, and says what is wrong with its arguments."""

import signal
import socket
import subprocess
import urllib.request

import pytest
import torch

from builders import SSLAM
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification
from polyaudio.scripts.app import main
from prepared_python import python


pytest.importorskip("gradio", reason="Gradio is not installed: pip install polyaudio[app]")

# Where tests run in the background, the signal of Ctrl-C is ignored
APP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from polyaudio.scripts.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SSLAMForAudioClassification(SSLAMConfig(**SSLAM, num_labels=3, window_frames=64)).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=64).save_pretrained(folder)
    return str(folder)


@pytest.mark.slow
def test_it_serves_a_page_until_ctrl_c(model):
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    process = subprocess.Popen(
        [python(), "-u", "-c", APP, "--model", model, "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said = ""
        while f"http://127.0.0.1:{port}" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        with urllib.request.urlopen(f"http://127.0.0.1:{port}") as answer:
            assert b"polyaudio" in answer.read()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate()
    finally:
        process.kill()
    assert process.returncode in (0, 130), "130 if the signal comes while Gradio still starts"
    assert "Traceback" not in rest


def test_wrong_arguments(model, tmp_path, capsys):
    assert main(["--model", str(tmp_path / "nowhere")]) == 2
    assert "neither a model folder nor a model" in capsys.readouterr().err
    assert main(["--model", model, "--examples", str(tmp_path / "gone.wav")]) == 2
    assert "There is no file" in capsys.readouterr().err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--model", model, "--port", str(taken.getsockname()[1])]) == 2
    assert "Cannot find empty port" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
    assert "--model" in capsys.readouterr().err
