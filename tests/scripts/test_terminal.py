# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Labels, file names and messages cannot steer the terminal that a command prints to."""

import io
import json
import logging
import sys
import unicodedata
from pathlib import Path

import pytest
import torch
from datasets.utils import tqdm

from builders import SSLAM, write_clip
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioClassification
from polyaudio.scripts.command import command
from polyaudio.scripts.dataset import main as dataset
from polyaudio.scripts.predict import main as predict
from polyaudio.scripts.terminal import plain, plain_streams


# Red, a window title, the C1 form of an escape, a backspace, right-to-left, a line break, half a character
HOSTILE = ["\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "a\x08b", "\u202egnp.wav", "a\u2028b", "\udcff"]
LABELS = [*HOSTILE[:5], "a\n 99.00%  b", "മലയാളം\u200d राग \u00a0é 🎵"]


def assert_plain(text: str, keep: str = "\n") -> None:
    steering = {
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in keep + "\u200c\u200d"
    }
    assert not steering


@pytest.mark.parametrize("text", [*HOSTILE, *LABELS, "\U000e0041", "\r\t\n"])
def test_plain(text):
    assert_plain(plain(text), keep="")
    assert json.loads(f'"{plain(text)}"').encode("utf-16", "surrogatepass") == text.encode("utf-16", "surrogatepass")


def test_what_is_harmless_stays():
    for text in ("राग", "മലയാളം\u200d", "é", "日本語\u3000名", "\u00a0", "🎵", "\\x1b", ""):
        assert plain(text) == text


def test_streams(capsys):
    output = sys.stdout
    with plain_streams():
        for text in HOSTILE:
            print(text)
            print(text, file=sys.stderr)
        bars = [tqdm(range(2), desc=f"\x1b[31m{number}", position=number, leave=False) for number in range(2)]
        for bar in bars:
            bar.update()
            bar.close()
        sys.stdout.writelines(["\x1b", "\n"])
    assert sys.stdout is output
    out, err = capsys.readouterr()
    assert_plain(out)
    assert out.endswith("\\u001b\n")
    assert "\r" in err
    assert_plain(err.replace("\x1b[A", ""), keep="\n\r")


@pytest.mark.parametrize("text", HOSTILE[:-1])  # pytest-xdist cannot report a log with half of a character
def test_errors_and_warnings(capsys, text):
    @command
    def run(argv):
        logging.getLogger("polyaudio.data").warning(f"one {text}\ntwo")
        raise ValueError(f"{text}\r\x1b[A is no dataset")

    assert run([]) == 2
    err = capsys.readouterr().err
    assert_plain(err)
    assert err.count("\n") == 3


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A classifier with these labels."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    names = dict(enumerate(LABELS))
    config = SSLAMConfig(**SSLAM, id2label=names, label2id={name: index for index, name in names.items()})
    SSLAMForAudioClassification(config).save_pretrained(folder)
    SSLAMFeatureExtractor(max_length=256).save_pretrained(folder)
    return folder


def test_predictions(model, tmp_path, capsys):
    for name in ("\x1b[31mgood.wav", "\u202ebad.wav"):
        write_clip(tmp_path / name)
    (tmp_path / "\u202ebad.wav").write_bytes(b"\x1b[31m")
    assert predict([str(tmp_path), "--model", str(model), "--top-k", "7"]) == 1
    out, err = capsys.readouterr()
    assert_plain(out)
    assert_plain(err, keep="\n\r")
    assert "\\u001b[31mgood.wav" in out
    assert "\\u202ebad.wav" in err
    assert len(out.splitlines()) == 8
    assert LABELS[-1] in out

    assert predict([str(tmp_path), "--model", str(model), "--top-k", "7", "--json"]) == 1
    out = capsys.readouterr().out
    assert_plain(out)
    (answer,) = json.loads(out)
    assert answer["file"] == str(tmp_path / "\x1b[31mgood.wav")
    assert {one["label"] for one in answer["labels"]} == set(LABELS)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_a_file_name_that_is_not_utf8(model, tmp_path, capsysbinary):
    write_clip(tmp_path / "clip.wav").rename(tmp_path / "\udcff.wav")
    assert predict([str(tmp_path), "--model", str(model), "--json"]) == 0
    out = capsysbinary.readouterr().out.decode("utf-8", "strict")
    assert json.loads(out)[0]["file"].endswith("\udcff.wav")


def test_names_of_classes_and_clips(tmp_path, capsys):
    for name in ("\x1b[31mred/\u202e1.wav", "blue\x07/2.wav", "blue\x07/3\r.wav"):
        write_clip(tmp_path / name)
    (tmp_path / "blue\x07" / "3\r.wav").write_bytes(b"")
    for action in ("inspect", "check"):
        dataset([action, str(tmp_path)])
        out, err = capsys.readouterr()
        assert_plain(out)
        assert_plain(err.replace("\x1b[A", ""), keep="\n\r")
        assert "3\\u000d.wav" in err


def test_a_stream_is_the_other_one_in_everything_else(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    with plain_streams():
        assert sys.stdout.encoding == "utf-8"
        assert not sys.stdout.isatty()
        print("\x1b", flush=True)
    assert stream.buffer.getvalue() == b"\\u001b\n"
