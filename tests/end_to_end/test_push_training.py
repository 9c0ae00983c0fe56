"""`polyaudio train` and `polyaudio pretrain` with `--push-to-hub`, and the pushed cards, adapters and data sets."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from safetensors.numpy import load

from hub_server import WRITE_TOKEN, HubServer
from prepared_python import python


RECIPE = """
model:
  model_type: sslam
  hidden_size: 16
  num_hidden_layers: 2
  num_attention_heads: 2
  intermediate_size: 32
  max_time_patches: 8
data:
  test_size: 0.34
  crop_seconds: 0.5
training:
  num_train_epochs: 2
  per_device_train_batch_size: 4
  dataloader_num_workers: 0
  disable_tqdm: true
"""
PRETRAINING = """
model:
  model_type: sslam
  hidden_size: 16
  num_hidden_layers: 1
  num_attention_heads: 2
  intermediate_size: 32
  max_time_patches: 8
  decoder_hidden_size: 16
  decoder_num_layers: 1
  decoder_groups: 4
  clone_batch: 2
data:
  crop_seconds: 0.5
training:
  max_steps: 2
  logging_steps: 1
  per_device_train_batch_size: 4
  dataloader_num_workers: 0
  disable_tqdm: true
"""
# All in one process, as importing torch takes longer than any of the runs
RUNS = r"""
import concurrent.futures, contextlib, io, json, os, re, shlex, sys, time
time.sleep = lambda seconds: None  # between tries the client waits for many seconds
import datasets, soundfile, torch
from huggingface_hub import HfApi, ModelCard
from transformers import AutoModelForAudioClassification, AutoModelForPreTraining, pipeline
from polyaudio.scripts.__main__ import main
from polyaudio.training.lora import merge_adapter

def upload_at_once(self, function, *args, **kwargs):
    # In a thread, a slow upload would find the files of the next save already
    future = concurrent.futures.Future()
    try:
        future.set_result(function(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future

HfApi.run_as_future = upload_at_once
os.chdir(sys.argv[1])
report, asked = {}, {}

def run(name, *arguments):
    asked[name] = shlex.join(["polyaudio", *arguments])
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(list(arguments))
        except SystemExit as end:
            code = end.code
    report[name] = [code, out.getvalue(), err.getvalue()]

def train(name, *arguments, data="tones", config="recipe.yaml"):
    where = ["--config", config, "--dataset", data, "--output-dir", f"runs/{name}"]
    run(name, "train", *where, "--push-to-hub", "--hub-model-id", f"tester/{name}", *arguments)

def scores(model, **settings):
    waveform, rate = soundfile.read("recording.wav", dtype="float32")
    answers = pipeline("audio-classification", model=model, **settings)({"array": waveform, "sampling_rate": rate})
    return {answer["label"]: answer["score"] for answer in answers}

def do_as_told(name, card, run_name):
    # Run all that stands in a card but for the training command, which was run to get the card
    waveform, rate = soundfile.read("recording.wav", dtype="float32")
    answers = report[f"card {name}"] = []
    for language, code in re.findall(r"^```(\w*)\n(.*?)\n```$", card, re.DOTALL | re.MULTILINE):
        if language == "python":
            variables = {"waveform": waveform, "sampling_rate": rate}
            *lines, last = code.split("\n")
            target = "" if last.startswith(" ") else "answers = "
            exec("\n".join([*lines, target + last]), variables)
            found = next(variables[key] for key in ("logits", "hidden_states", "answers") if key in variables)
            answers.append(found.tolist() if isinstance(found, torch.Tensor) else found)
        else:
            report[f"command {name}"] = [code, asked[run_name]]
    for command in re.findall(r"`polyaudio (predict .*?)`", card):
        run(f"predict {name}", *shlex.split(command.replace("FILES...", "recording.wav")))
    for command in re.findall(r"`polyaudio (embed .*?)`", card):
        command = command.replace("FILES...", "recording.wav").replace("DIR", f"features-{name}")
        run(f"embed {name}", *shlex.split(command))

def card_of(name):
    return ModelCard.load(f"tester/{name}")

def wait(phase):
    print(phase, flush=True)
    input()

train("every", "--hub-strategy", "every_save", "--hub-always-push")
train("checkpoint", "--hub-strategy", "checkpoint", "--ema-decay", "0.5", "--hub-revision", "dev")
train("end", "--hub-strategy", "end", "--hub-private-repo", "true")
train("frozen", "--model-name-or-path", "runs/end", "--freeze-encoder", config="whole.yaml")
train("events", "--hub-strategy", "end", data="events")
report["scores"] = [scores("runs/every"), scores("tester/every")]

train("adapter", "--model-name-or-path", "tester/every", "--lora", "--hub-strategy", "every_save")
report["adapter scores"] = [scores("runs/adapter"), scores("tester/adapter", config="tester/adapter")]
train("local", "--model-name-or-path", "runs/every", "--lora")

# An adapter of a folder, with other labels than its base has
where = ["--config", "recipe.yaml", "--dataset", "others", "--model-name-or-path", "runs/every", "--lora"]
run("trained", "train", *where, "--output-dir", "runs/others")
run("no base", "push", "runs/others", "tester/others")
run("wrong base", "push", "runs/others", "tester/others", "--base-model", "tester/nobody")
run("no adapter", "push", "runs/every", "tester/others", "--base-model", "tester/every")
run("base", "push", "runs/others", "tester/others", "--base-model", "tester/every")
loaded = AutoModelForAudioClassification.from_pretrained("tester/others")
report["others"] = list(loaded.config.id2label.values())
merge_adapter("tester/others", "merged")
report["others scores"] = [scores("runs/others"), scores("tester/others", config="tester/others"), scores("merged")]

# An adapter beside its base
where = ["--config", "recipe.yaml", "--dataset", "tones", "--lora", "--max-steps", "1"]
run("scratch", "train", *where, "--output-dir", "runs/scratch")
run("beside", "push", "runs/scratch", "tester/scratch", "--base-model", "tester/every")

for name in ("every", "events", "adapter", "others"):
    do_as_told(name, card_of(name).content, "trained" if name == "others" else name)
do_as_told("local", ModelCard.load("runs/every/README.md").content, "every")

run("pretrain", "pretrain", "--config", "pretraining.yaml", "--dataset", "tones", "--output-dir", "runs/pretrained",
    "--push-to-hub", "--hub-model-id", "tester/pretrained", "--hub-strategy", "end")
pretrained = AutoModelForPreTraining.from_pretrained("tester/pretrained").state_dict()
mine = AutoModelForPreTraining.from_pretrained("runs/pretrained").state_dict()
report["pretrained"] = all(torch.equal(mine[name], value) for name, value in pretrained.items())
do_as_told("pretrained", card_of("pretrained").content, "pretrain")
for name in ("every", "frozen", "events", "adapter", "others", "pretrained"):
    card_of(name).validate()
card = card_of("every")
card.data.base_model = "/home/me/base"
try:
    card.validate()
except ValueError as error:
    report["invalid card"] = str(error)

run("seeds", "train", *where, "--output-dir", "runs/seeds", "--seeds", "1", "2", "--push-to-hub")
build = ["dataset", "build", "tones", "--output", "chunks", "--chunk", "0.5", "--push", "tester/chunks"]
run("dataset", *build, "--private")
chunks = datasets.load_dataset("tester/chunks", split="train")
report["chunks"] = [len(chunks), chunks.features["label"].names, sorted(set(chunks["recording"]))[0]]

wait("cut")
train("cut", "--hub-strategy", "every_save")
run("dataset cut", *build, "--overwrite")
wait("down")
train("unreachable")
wait("heal")
run("again", "push", "runs/cut", "tester/cut")
print(json.dumps(report), flush=True)
"""
PHASES = {
    "cut": lambda hub: setattr(hub, "cut_calls", "/tester/(cut|chunks)/commit/"),
    "down": lambda hub: hub.fail("POST /api/repos/create", 503, "Down for repairs"),
    "heal": lambda hub: hub.heal(),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pushed")
    (folder / "recipe.yaml").write_text(RECIPE)
    (folder / "whole.yaml").write_text(RECIPE.replace("  crop_seconds: 0.5\n", ""))
    (folder / "pretraining.yaml").write_text(PRETRAINING)
    for data, names in (("tones", ("high", "low")), ("others", ("one", "three", "two"))):
        for number, name in enumerate(names):
            (folder / data / name).mkdir(parents=True)
            for seed in range(6):
                rng = np.random.default_rng([number, seed])
                tone = np.sin(2 * np.pi * (300 + 900 * number) * np.arange(8000 + 400 * seed) / 16000)
                waveform = 0.2 * tone + 0.02 * rng.standard_normal(len(tone))
                soundfile.write(folder / data / name / f"{seed}.wav", waveform, 16000)
    shutil.copytree(folder / "tones", folder / "events")
    rows = [f"{name}/{seed}.wav,0.1,0.4,{name}" for name in ("high", "low") for seed in range(6)]
    (folder / "events" / "metadata.csv").write_text("\n".join(["file_name,onset,offset,label", *rows, ""]))
    shutil.copy(folder / "tones" / "low" / "0.wav", folder / "recording.wav")
    return folder


@pytest.fixture(scope="module")
def hub():
    with HubServer() as hub:
        yield hub


@pytest.fixture(scope="module")
def report(hub, folder) -> dict:
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": WRITE_TOKEN, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_HOME": str(folder / "home")}
    errors = open(folder / "errors.txt", "w+")  # noqa: SIM115
    process = subprocess.Popen(
        [python("torch"), "-c", RUNS, folder],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )
    with process, errors:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.strip() in PHASES:
                PHASES[line.strip()](hub)
                process.stdin.write("\n")
                process.stdin.flush()
        assert process.wait() == 0, (folder / "errors.txt").read_text()[-4000:]
    assert WRITE_TOKEN not in "".join(lines) + (folder / "errors.txt").read_text()
    return json.loads(lines[-1])


def files_after(hub: HubServer, name: str, message: str) -> list[dict[str, bytes]]:
    """The files of each commit with such a message."""
    commits = hub.repo(name).commits.values()
    return [
        {path: blob.data for path, blob in commit.files.items()} for commit in commits if message in commit.message
    ]


def error_of(done: list) -> str:
    """The one line that an error is."""
    code, _, errors = done
    assert code == 2, errors
    assert "Traceback" not in errors
    return errors.splitlines()[-1]


MODEL = {"config.json", "model.safetensors", "preprocessor_config.json", "modeling_sslam.py", "saving.py"}
MODEL |= {"feature_extraction_sslam.py", "configuration_sslam.py"}
REPORT = {"README.md", "evaluation.json", "confusion_matrix.png", "losses.png"}
PICKLES = (".bin", ".pt", ".pth", ".pkl")


@pytest.mark.slow
def test_every_save_goes_up_whole_and_the_report_at_the_end(hub, folder, report):
    assert report["every"][0] == 0, report["every"][2]
    saves = files_after(hub, "tester/every", "Training in progress")
    assert len(saves) == 2
    for files in saves:
        assert files.keys() >= MODEL
    files = hub.files("tester/every")
    assert files.keys() >= MODEL | REPORT
    assert not [name for name in files if name.endswith(PICKLES) or "/" in name]
    assert list(hub.repo("tester/every").commits.values())[-1].message == "End of training"
    for name in (MODEL | REPORT) - {"README.md"}:
        assert files[name] == (folder / "runs" / "every" / name).read_bytes()
    local, pushed = report["scores"]
    assert pushed == local
    assert report["every"][1].splitlines()[-1].startswith(f"{hub.endpoint}/tester/every/commit/")


def test_checkpoints_to_resume_from(hub, report):
    assert report["checkpoint"][0] == 0, report["checkpoint"][2]
    assert "An upload during training failed" not in report["checkpoint"][2]
    files = hub.files("tester/checkpoint", "dev")
    assert hub.files("tester/checkpoint").keys() == {".gitattributes"}
    assert files.keys() >= MODEL | REPORT
    last = {name.removeprefix("last-checkpoint/") for name in files if name.startswith("last-checkpoint/")}
    assert last >= MODEL | {"optimizer.pt", "scheduler.pt", "trainer_state.json", "ema.safetensors"}
    assert json.loads(files["last-checkpoint/trainer_state.json"])["global_step"] == 4
    assert not [name for name in files if "/" not in name and name.endswith((*PICKLES, "trainer_state.json"))]
    assert len(files_after(hub, "tester/checkpoint", ", checkpoint")) == 2


def test_the_end_alone(hub, report):
    assert report["end"][0] == 0, report["end"][2]
    assert hub.repo("tester/end").private
    assert [commit.message for commit in hub.repo("tester/end").commits.values()] == [
        "initial commit",
        "End of training",
    ]
    assert hub.files("tester/end").keys() >= MODEL | REPORT


def test_a_head_alone_is_not_pushed_as_a_model(hub, report):
    assert report["frozen"][0] == 0, report["frozen"][2]
    assert not files_after(hub, "tester/frozen", "Training in progress")
    names = load(hub.files("tester/frozen")["model.safetensors"])
    assert any(name.startswith("sslam.layers.1.") for name in names)


def test_an_adapter_of_a_model_on_the_hub(hub, report):
    assert report["adapter"][0] == 0, report["adapter"][2]
    for files in [*files_after(hub, "tester/adapter", "Training in progress"), hub.files("tester/adapter")]:
        assert "model.safetensors" not in files
        assert files.keys() >= {"adapter_model.safetensors", "config.json", "preprocessor_config.json"}
        assert json.loads(files["adapter_config.json"])["base_model_name_or_path"] == "tester/every"
    local, pushed = report["adapter scores"]
    assert pushed == pytest.approx(local, abs=1e-6)
    card = ModelCard(hub.files("tester/adapter")["README.md"].decode())
    assert (card.data.library_name, card.data.base_model) == ("peft", "tester/every")


def test_an_adapter_of_a_folder_needs_the_name_of_its_base(hub, folder, report):
    assert report["trained"][0] == 0, report["trained"][2]
    base = str(folder / "runs" / "every")
    error = error_of(report["local"])
    assert base in error
    assert "train without push_to_hub" in error
    assert ("model", "tester/local") not in hub.repos
    error = error_of(report["no base"])
    assert base in error
    assert "--base-model" in error
    assert "merge_adapter('runs/others', 'merged')" in error
    assert "tester/nobody, the base of the adapter, is not on the Hub" in error_of(report["wrong base"])
    assert "runs/every holds no adapter" in error_of(report["no adapter"])

    assert report["base"][0] == 0, report["base"][2]
    files = hub.files("tester/others")
    local = (folder / "runs" / "others" / "adapter_config.json").read_text()
    assert json.loads(local)["base_model_name_or_path"] == base
    expected = {**json.loads(local), "base_model_name_or_path": "tester/every"}
    assert json.loads(files["adapter_config.json"]) == expected
    assert report["others"] == ["one", "three", "two"]
    one, other, merged = report["others scores"]
    assert other == pytest.approx(one, abs=1e-6)
    assert merged == pytest.approx(one, abs=1e-5)
    card = ModelCard(files["README.md"].decode())
    assert (card.data.base_model, card.data.base_model_relation) == ("tester/every", "adapter")


def test_an_adapter_beside_its_untrained_base_is_to_be_merged(hub, report):
    assert report["scratch"][0] == 0, report["scratch"][2]
    error = error_of(report["beside"])
    assert "an adapter beside the untrained model" in error
    assert "merge_adapter('runs/scratch', 'merged')" in error
    assert ("model", "tester/scratch") not in hub.repos


def test_all_that_a_card_tells_to_do_works(hub, folder, report):
    for name in ("every", "adapter", "others", "local"):
        expected = report["others scores" if name == "others" else "adapter scores" if name == "adapter" else "scores"]
        here, anywhere = report[f"card {name}"]
        for answers in (here, anywhere):
            scores = {answer["label"]: answer["score"] for answer in answers}
            assert scores == pytest.approx(expected[0], abs=1e-6), name
    here, anywhere = (np.array(logits) for logits in report["card events"])
    assert here.shape[1] == 2
    np.testing.assert_allclose(anywhere, here, atol=1e-6)
    for name in ("every", "adapter", "others", "local", "events"):
        code, output, errors = report[f"predict {name}"]
        assert code == 0, errors
        assert output.startswith("recording.wav\n")
        printed, was_run = report[f"command {name}"]
        assert printed == was_run
    # On the Hub a model has another name than here; the rest of the card is the same
    local = (folder / "runs" / "every" / "README.md").read_text()
    assert "--model runs/every`" in local
    assert local.count("'runs/every'") == 2
    expected = local.replace("'runs/every'", "'tester/every'").replace("--model runs/every`", "--model tester/every`")
    assert hub.files("tester/every")["README.md"].decode() == expected


def test_cards_are_valid_and_hold_the_scores(hub, folder, report):
    assert "'/home/me/base' is no repository" in report["invalid card"]
    for name in ("every", "end", "adapter"):
        card = ModelCard(hub.files(f"tester/{name}")["README.md"].decode())
        result = json.loads(hub.files(f"tester/{name}")["evaluation.json"])
        model_name, scores = model_index_to_eval_results(card.data.to_dict()["model-index"])
        assert model_name == name
        values = {score.metric_name: score.metric_value for score in scores}
        assert values["Accuracy per clip"] == round(result["clips"]["accuracy"], 4)
        assert values["Macro F1 per recording"] == round(result["recordings"]["f1_macro"], 4)
        assert card.data.pipeline_tag == "audio-classification"
    assert ModelCard(hub.files("tester/events")["README.md"].decode()).data.pipeline_tag is None


def test_pre_training(hub, report):
    assert report["pretrain"][0] == 0, report["pretrain"][2]
    assert report["pretrained"]
    assert hub.files("tester/pretrained").keys() >= MODEL | {"README.md", "losses.png"}


def test_the_card_of_a_pre_training(hub, folder, report):
    text = hub.files("tester/pretrained")["README.md"].decode()
    data = ModelCard(text).data
    assert data.tags == ["polyaudio", "sslam", "pretraining"]
    assert (data.library_name, data.pipeline_tag) == ("transformers", None)
    assert "12 recordings" in text
    here, anywhere = (np.array(states) for states in report["card pretrained"])
    np.testing.assert_allclose(anywhere, here, atol=1e-6)
    printed, was_run = report["command pretrained"]
    assert printed == was_run
    assert report["embed pretrained"][0] == 0, report["embed pretrained"][2]
    assert (folder / "features-pretrained" / "recording.wav.npy").is_file()
    state = json.loads((folder / "runs" / "pretrained" / "trainer_state.json").read_text())
    loss = [entry["loss"] for entry in state["log_history"] if "loss" in entry][-1]
    assert f"| loss | {loss:.4g} |" in text


def test_several_runs_are_not_pushed_over_each_other(report):
    assert "Leave out push_to_hub" in error_of(report["seeds"])


def test_a_data_set(hub, report):
    assert report["dataset"][0] == 0, report["dataset"][2]
    assert hub.repo("tester/chunks", "dataset").private
    assert report["chunks"][:2] == [12, ["high", "low"]]


def test_a_connection_that_breaks_costs_no_result(hub, folder, report):
    code, output, errors = report["cut"]
    assert code == 2
    assert "macro F1" in output
    assert "An upload during training failed" in errors
    error = error_of(report["cut"])
    assert "runs/cut is as it was. To finish, run: polyaudio push runs/cut tester/cut" in error
    assert {path.name for path in (folder / "runs" / "cut").iterdir()} >= MODEL | REPORT
    assert report["again"][0] == 0, report["again"][2]
    files = hub.files("tester/cut")
    assert files.keys() >= MODEL | REPORT
    assert files["model.safetensors"] == (folder / "runs" / "cut" / "model.safetensors").read_bytes()

    error = error_of(report["dataset cut"])
    assert "chunks is as it was. To finish, run: hf upload tester/chunks chunks . --repo-type dataset" in error
    assert (folder / "chunks" / "README.md").is_file()


def test_no_repository_ends_the_run_before_it_begins(folder, report):
    error = error_of(report["unreachable"])
    assert "Nothing was trained" in error
    assert "503" in error
    assert "`polyaudio push` afterwards" in error
    assert not list((folder / "runs").glob("unreachable/*"))


def test_no_token_is_in_any_file(hub, folder, report):
    token = WRITE_TOKEN.encode()
    for repo in hub.repos.values():
        for commit in repo.commits.values():
            assert not [path for path, blob in commit.files.items() if token in blob.data]
    assert not [path for path in folder.rglob("*") if path.is_file() and token in path.read_bytes()]
    assert token.decode() not in json.dumps(report)
