# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The modules of the web page in node: they give what the same code in Python gives."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from browser import skip_or_fail
from polyaudio import EventRules
from polyaudio.data.event_rules import detect_events
from polyaudio.data.resampling import resample_blocks
from polyaudio.inference.timeline import TimelineStream, WindowLayout


WEB = Path(__file__).resolve().parents[2] / "export" / "web"
RATE = 16_000


@pytest.fixture(scope="module")
def run_module(tmp_path_factory):
    """Runs JavaScript with the names of a module and `input`; its `output`."""
    node = shutil.which("node")
    if node is None:
        skip_or_fail("Node.js is not installed: apt-get install nodejs")
    folder = tmp_path_factory.mktemp("modules")
    for path in WEB.glob("*.js"):
        shutil.copy(path, folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(module: str, names: str, script: str, value: Any) -> Any:
        program = (
            f'import {{ {names} }} from "./{module}"; import {{ readFileSync, writeFileSync }} from "node:fs";\n'
            f'const input = JSON.parse(readFileSync("input.json")); let output;\n{script}\n'
            'writeFileSync("output.json", JSON.stringify(output));'
        )
        (folder / "program.js").write_text(program)
        (folder / "input.json").write_text(json.dumps(value))
        done = subprocess.run([node, "program.js"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads((folder / "output.json").read_text())

    return run


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, samples).astype(np.float32)


def blocks(samples: np.ndarray, longest: int) -> list[list[float]]:
    rng, parts, start = np.random.default_rng(len(samples)), [], 0
    while start < len(samples):
        stop = start + int(rng.integers(0, longest))
        parts.append(samples[start:stop].tolist())
        start = stop
    return parts


@pytest.mark.parametrize("rate", [44_100, 48_000, 8_000, 11_025, 44_101, 16_000])
def test_resampling(run_module, rate):
    samples = sound(9_137)
    script = """
        const resampler = new Resampler(input.rate, 16000);
        output = input.blocks.flatMap((block) => [...resampler.push(Float32Array.from(block))]);
        output.push(...resampler.finish());
    """
    found = run_module("resampling.js", "Resampler", script, {"rate": rate, "blocks": blocks(samples, 700)})
    expected = np.concatenate(list(resample_blocks([samples], rate, RATE)))
    assert len(found) == len(expected)
    # torchaudio computes its filter in float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


LAYOUTS = {
    "clips": WindowLayout(4000, 4000, 2000, 2000, 2000, "fade"),
    "a hop of a third": WindowLayout(3000, 3000, 1000, 1000, 1000, "mean"),
    "frames": WindowLayout(3200, 3440, 1600, 320, 320, "fade"),
    "finer frames": WindowLayout(3200, 3440, 1600, 320, 80, "fade"),
    "the highest": WindowLayout(3200, 3440, 2240, 320, 160, "max"),
}


@pytest.mark.parametrize("samples", [1, 100, 3440, 3999, 4000, 4001, 12_400, 20_123])
@pytest.mark.parametrize("name", LAYOUTS)
def test_timelines(run_module, name, samples):
    layout, shortest = LAYOUTS[name], 400
    answers = len(layout.weights())

    def score(window: np.ndarray, is_whole: bool) -> np.ndarray:
        """For each part of a window its first and its last sample, and whether the window is a whole recording."""
        number = max(1, min(answers, len(window) // layout.answer))
        parts = [window[index * layout.answer : (index + 1) * layout.answer] for index in range(number)]
        rows = [(part[0], part[-1], float(is_whole)) for part in parts]
        return np.array(rows * (answers if number == 1 else 1), dtype=np.float32)

    timeline = SimpleNamespace(
        layout=layout,
        labels=("a", "b", "c"),
        sampling_rate=40 * shortest,
        score_windows=lambda windows, is_whole: [score(window, is_whole) for window in windows],
    )
    recording = sound(samples)
    stream = TimelineStream(timeline, batch_size=8)
    expected = np.concatenate([stream.push(recording), stream.finish()])
    script = """
        const { layout, shortest, answers } = input;
        const score = async (window, isWhole) => {
          const number = Math.max(1, Math.min(answers, Math.floor(window.length / layout.answer)));
          const rows = Array.from({ length: number }, (_, index) => {
            const part = window.slice(index * layout.answer, (index + 1) * layout.answer);
            return Float32Array.of(part[0], part.at(-1), isWhole ? 1 : 0);
          });
          return number === 1 ? Array(answers).fill(rows[0]) : rows;
        };
        const stream = new TimelineStream(new WindowLayout(layout), shortest, 3, score);
        output = [];
        for (const block of input.blocks) output.push(...(await stream.push(Float32Array.from(block))));
        output = [...output, ...(await stream.finish())].map((cell) => [...cell]);
    """
    value = {"layout": vars(layout), "shortest": shortest, "answers": answers, "blocks": blocks(recording, 3000)}
    found = run_module("timeline.js", "TimelineStream, WindowLayout", script, value)
    np.testing.assert_array_equal(np.array(found, dtype=np.float32), expected)


RULES = [
    {},
    {"threshold": 0.6, "low_threshold": 0.35, "max_gap": 0.5, "min_duration": 0.3},
    {"median_filter": 1.1},
    {"threshold": [0.5, 0.7, 0.2], "median_filter": [0.0, 0.9, 3.0], "max_gap": [0.0, 0.32, 1.0]},
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("cells", [0, 1, 7, 800])
def test_events(run_module, rules, cells):
    rng = np.random.default_rng(cells)
    walks = rng.normal(0, 0.15, (cells, 3)).cumsum(0)
    scores = (1 / (1 + np.exp(-walks))).astype(np.float32)
    seconds, duration = 0.16, max(0.16, cells * 0.16 - 0.05)
    script = """
        const detector = new EventDetector(input.rules, 3, input.seconds);
        output = [];
        for (let start = 0; start < input.scores.length; start += 37) {
          const block = input.scores.slice(start, start + 37).map((cell) => Float32Array.from(cell));
          output.push(...detector.push(block));
        }
        output = inOrder([...output, ...detector.finish(input.duration)]);
    """
    value = {"rules": rules, "seconds": seconds, "duration": duration, "scores": scores.tolist()}
    found = run_module("event_rules.js", "EventDetector, inOrder", script, value)
    expected = detect_events(scores, seconds, EventRules(**rules), duration) if cells else []
    assert [(one["onset"], one["offset"], one["label"], one["score"]) for one in found] == [
        tuple(event) for event in expected
    ]
    assert expected or cells < 800


SUBTYPES = [
    *(("WAV", one) for one in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("WAVEX", "PCM_16"), ("RF64", "FLOAT")),
]


@pytest.mark.parametrize(("format", "subtype"), SUBTYPES)
def test_parts_of_wav_files(run_module, tmp_path, format, subtype):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([sound(5000), sound(5000, 1)], 1), 22_050, format=format, subtype=subtype)
    expected = soundfile.read(path, dtype="float32")[0].mean(1)
    script = """
        const wav = await openWav(new Blob([readFileSync(input)]));
        const parts = await Promise.all([wav.read(0, 1234), wav.read(1234, 9999)]);
        output = { rate: wav.rate, frames: wav.frames, samples: parts.flatMap((part) => [...part]) };
    """
    found = run_module("wav.js", "openWav", script, str(path))
    assert (found["rate"], found["frames"]) == (22_050, 5000)
    np.testing.assert_allclose(found["samples"], expected, atol=1e-7)


def test_other_files_are_no_wav_files(run_module, tmp_path):
    samples, contents = sound(1000), {}
    for name, subtype in (("a.flac", "PCM_16"), ("mu_law.wav", "ULAW")):
        soundfile.write(tmp_path / name, samples, RATE, subtype=subtype)
        contents[name] = list((tmp_path / name).read_bytes())
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    contents |= {"empty": [], "cut": list((tmp_path / "a.wav").read_bytes()[:30]), "text": list(b"RIFF and more text")}
    script = """
        output = {};
        for (const [name, bytes] of Object.entries(input)) {
          output[name] = await openWav(new Blob([Uint8Array.from(bytes)]));
        }
    """
    assert run_module("wav.js", "openWav", script, contents) == dict.fromkeys(contents)


def test_a_wav_file_that_was_cut_off_ends_where_it_is_cut(run_module, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1000), RATE, subtype="PCM_16")
    content = (tmp_path / "a.wav").read_bytes()[:-501]
    script = "output = (await openWav(new Blob([Uint8Array.from(input)]))).frames;"
    assert run_module("wav.js", "openWav", script, list(content)) == 749
    # A recorder that streams does not know the size
    stopped = content[:40] + b"\0\0\0\0" + content[44:]
    assert run_module("wav.js", "openWav", script, list(stopped)) == 749


def test_tables_of_events(run_module):
    events = [
        {"onset": 0.1, "offset": 2, "label": 1, "score": 0.5},
        {"onset": 1 / 3, "offset": 3, "label": 0, "score": 1},
    ]
    script = "output = eventsCsv('a, \"b\".wav', input, ['dog', 'cat, black']);"
    assert run_module("overview.js", "eventsCsv", script, events) == (
        "file,onset,offset,label,score\n"
        '"a, ""b"".wav",0.100000,2.000000,"cat, black",0.500000\n'
        '"a, ""b"".wav",0.333333,3.000000,dog,1.000000\n'
    )
