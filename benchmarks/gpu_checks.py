# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""
Correctness on a device: what the original implementations computed, kernels of attention and compiled models beside
eager ones, a run that is resumed, and two processes.
"""

import contextlib
import functools
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from timing import Settings, computing, without_compiling
from transformers import PreTrainedModel
from two_processes import error_of_two_processes

from polyaudio import (
    SAMAudioConfig,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
    SSLAMForPreTraining,
)
from polyaudio.modeling.checkpoint_io import read_torch_checkpoint
from polyaudio.modeling.checkpoint_sam_audio import load_sam_carnatic_checkpoint
from polyaudio.modeling.checkpoint_sslam import ConvertedCheckpoint, convert_fairseq_checkpoint


REFERENCE = Path(__file__).resolve().parent.parent / "tests" / "reference"

# The largest error, as a share of the largest value. In float32 it is that of the tests
ALLOWED = {"float32": 1e-4, "TF32": 5e-3, "bfloat16": 3e-2}
ALLOWED_OF_GRADIENTS = {"float32": 1e-3, "TF32": 1e-2, "bfloat16": 5e-2}


class Check(NamedTuple):
    """What is checked, in which precision, the function that returns its error, and how large that may be."""

    title: str
    precision: str
    error: Callable[[], float]
    allowed: float


def check_all(settings: Settings, cards: list[str]) -> Iterator[dict[str, Any]]:
    """
    Run all checks.

    Args:
        settings: the device, and whether compiled models are only traced (`quick`).
        cards: numbers of the cards, for the check that takes two. Empty for the CPU.

    Yields:
        `title`, `precision`, `error`, `allowed`, `passed` and, where a check could not be made or is not as it should,
        `why`. `passed` is None for what this machine cannot do.
    """
    for check in (*golden(settings), *kernels(settings), *compiled(settings), *training(settings, cards)):
        yield outcome(check, settings.device)


def outcome(check: Check, device: torch.device) -> dict[str, Any]:
    """The result of a check. An exception is one too: the other checks still run."""
    result: dict[str, Any] = {"title": check.title, "precision": check.precision, "allowed": check.allowed}
    try:
        if check.precision == "TF32" and device.type != "cuda":
            raise ImportError("only CUDA devices have TF32")
        with computing(check.precision, device):
            error = check.error()
    except ImportError as missing:
        return {**result, "error": None, "passed": None, "why": _first_line(missing)}
    except Exception as failure:
        return {**result, "error": None, "passed": False, "why": f"{type(failure).__name__}: {_first_line(failure)}"}
    return {**result, "error": error, "passed": error <= check.allowed, "why": None}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a share of the largest value; infinite where there are NaN."""
    expected = expected.float().cpu()
    error = (actual.detach().float().cpu() - expected).abs().max() / expected.abs().max()
    return error.item() if torch.isfinite(error) else math.inf


# What the original implementations computed -----------------------------------------------------------------------


def golden(settings: Settings) -> Iterator[Check]:
    """Features, logits, losses and gradients of the originals."""
    device = settings.device
    yield Check("SSLAM's features", "float32", functools.partial(features_of_the_original, device), 1.0)
    for precision in ("float32", "TF32", "bfloat16"):
        for attention in ("eager", "sdpa"):
            error = functools.partial(logits_of_the_original, device, attention)
            yield Check(f"SSLAM's logits, {attention} attention", precision, error, ALLOWED[precision])
        for kind in ("mel", "raw_batchnorm"):
            error = functools.partial(sam_audio_of_the_original, device, kind)
            yield Check(f"SAMAudio's logits ({kind})", precision, error, ALLOWED[precision])
        for stage in (1, 2):
            loss, norm = (functools.partial(pretraining_of_the_original, device, stage, what) for what in (0, 1))
            yield Check(f"loss of pre-training, stage {stage}", precision, loss, ALLOWED[precision])
            yield Check(f"norm of its gradient, stage {stage}", precision, norm, ALLOWED_OF_GRADIENTS[precision])


def features_of_the_original(device: torch.device) -> float:
    """The error of the energies, as a share of what the tests allow."""
    recorded = json.loads((REFERENCE / "sslam" / "fbank.json").read_text())["cases"]
    tensors, errors = load_file(REFERENCE / "sslam" / "fbank.safetensors"), []
    for case, settings in recorded.items():
        if settings["sample_rate"] != 16_000:
            continue
        extractor = SSLAMFeatureExtractor(**{name: settings[name] for name in ("mean", "std") if name in settings})
        features = extractor(
            tensors[f"{case}.waveform_int16"],
            sampling_rate=16_000,
            return_tensors="pt",
            max_length=settings["target_length"],
            truncation=True,
            device=device,
        ).input_values[0]
        expected = tensors[f"{case}.input_values"].view(settings["target_length"], -1)
        energies, expected = (
            (values[: settings["num_frames"]].cpu().double() * 2 * extractor.std + extractor.mean).exp()
            for values in (features, expected)
        )
        allowed = 1e-4 * expected + 5e-8 * expected.mean()
        errors.append(((energies - expected).abs() / allowed).max().item())
    return max(errors)


@functools.cache
def converted(name: str, what: Any) -> ConvertedCheckpoint:
    return convert_fairseq_checkpoint(read_torch_checkpoint(REFERENCE / "sslam" / name), what)


def logits_of_the_original(device: torch.device, attention: str) -> float:
    checkpoint, forward = converted("finetuned.pt", "classifier"), load_file(REFERENCE / "sslam/forward.safetensors")
    model = SSLAMForAudioClassification(checkpoint.config)
    model.load_state_dict(checkpoint.state_dict)
    model.eval().to(device).set_attn_implementation(attention)
    errors = []
    for length in (1024, 512, 200):
        clips = forward[f"t{length}.input_values"].float()[:, 0, : length // 16 * 16]
        with torch.no_grad():
            logits = model(clips.to(device)).logits
        errors.append(relative_error(logits, forward[f"t{length}.finetuned.logits.CLS_TOKEN"]))
    return max(errors)


def sam_audio_of_the_original(device: torch.device, kind: str) -> float:
    folder = REFERENCE / "sam_audio" / kind
    loaded, expected = (
        load_sam_carnatic_checkpoint(read_torch_checkpoint(folder / "best_model.pth")),
        load_file(folder / "golden.safetensors"),
    )
    features = loaded.feature_extractor(expected["waveform"], sampling_rate=16_000, return_tensors="pt", device=device)
    model = loaded.model.eval().to(device)
    with torch.no_grad():
        return relative_error(model(**features).logits, expected["logits"])


def pretraining_of_the_original(device: torch.device, stage: int, what: int) -> float:
    """The error of the loss (`what` is 0), or of the norm of its gradient (1)."""
    numbers = _recorded(stage)["cases"]["main"]
    model, batch = pretraining_run(device, stage)
    loss = model(**batch).loss
    expected = numbers["total_loss"] / numbers["sample_size"]
    if what == 0:
        return abs(loss.item() / expected - 1)
    loss.backward()
    norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in model.parameters() if p.grad is not None))
    return abs(norm / numbers["global_grad_norm_of_total_loss_over_sample_size"] - 1)


def _recorded(stage: int) -> dict[str, Any]:
    return json.loads((REFERENCE / "sslam" / f"stage{stage}_loss.json").read_text())


def pretraining_run(device: torch.device, stage: int) -> tuple[SSLAMForPreTraining, dict[str, torch.Tensor]]:
    """The original's checkpoint, and the batch that its losses were recorded on, with masks and mixtures."""
    checkpoint = converted("pretrained.pt", "pretraining")
    changes = {"pretraining_stage": stage, "clone_batch": 4, "mask_noise_std": 0.0}
    model = SSLAMForPreTraining(SSLAMConfig(**{**checkpoint.config.to_dict(), **changes}))
    model.load_state_dict(checkpoint.state_dict)
    tensors = load_file(REFERENCE / "sslam" / f"stage{stage}_loss.safetensors")
    batch = {
        "input_values": tensors["main.source"].squeeze(1).float().to(device),
        "bool_masked_pos": tensors["main.precomputed_mask"].bool().to(device),
    }
    if stage == 2:
        case = _recorded(stage)["cases"]["main"]
        batch["mix_starts"] = torch.tensor([case["idx_1"], case["idx_2"]], device=device)
    return model.train().to(device), batch


# Kernels of attention, and torch.compile ---------------------------------------------------------------------------


def small_classifier(kind: str) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """SSLAM or SAMAudio with heads of 64, a size that all kernels take, and a batch with padding."""
    torch.manual_seed(0)
    frames, lengths = 160, torch.tensor([160, 96, 48])
    if kind == "SSLAM":
        sizes = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256}
        model: PreTrainedModel = SSLAMForAudioClassification(SSLAMConfig(num_labels=4, **sizes))
        bins = 128
    else:
        bins, sizes = 80, {"conv_dim": [64, 128], "conv_kernel": [3, 3], "conv_stride": [2, 2]}
        dropouts = dict.fromkeys(("feat_extract_dropout", "attention_probs_dropout_prob", "classifier_dropout"), 0.0)
        config = SAMAudioConfig(num_labels=4, num_attention_heads=2, mask_weight=0.0, **sizes, **dropouts)
        model = SAMAudioForAudioClassification(config)
    batch = {
        "input_values": torch.randn(len(lengths), frames, bins),
        "attention_mask": (torch.arange(frames) < lengths[:, None]).long(),
        "labels": torch.tensor([0, 1, 3]),
    }
    return model, batch


def kernels(settings: Settings) -> Iterator[Check]:
    """Kernels of attention that transformers offers for the models, beside eager attention in float32."""
    for kind in ("SSLAM", "SAMAudio"):
        for attention, precision in (
            ("sdpa", "float32"),
            ("sdpa", "bfloat16"),
            ("flash_attention_2", "bfloat16"),
            ("flex_attention", "float32"),
            ("flex_attention", "bfloat16"),
        ):
            error = functools.partial(error_of_attention, settings, kind, attention)
            yield Check(f"{kind}, {attention} beside eager", precision, error, ALLOWED[precision])


def error_of_attention(settings: Settings, kind: str, attention: str) -> float:
    device, (model, batch) = settings.device, small_classifier(kind)
    if attention.startswith("flash") and not model._supports_flash_attn:
        raise ImportError(f"{kind} has no flash attention")
    model.eval().to(device)
    inputs = {name: value.to(device) for name, value in batch.items() if name != "labels"}
    with torch.inference_mode(), computing("float32", device):
        model.set_attn_implementation("eager")
        expected = model(**inputs).logits
    if torch.is_autocast_enabled(device.type):
        model.to(torch.bfloat16)  # flash attention takes no float32 weights
        inputs["input_values"] = inputs["input_values"].bfloat16()
    # transformers compiles flex attention
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), without_compiling(settings):
        model.set_attn_implementation(attention)
        return relative_error(model(**inputs).logits, expected)


def compiled(settings: Settings) -> Iterator[Check]:
    """Losses and gradients of compiled models beside those of eager ones."""
    # A quick run only traces
    device, backend = settings.device, "aot_eager" if settings.quick else "inductor"
    for precision in ("bfloat16",) if settings.quick else ("float32", "bfloat16"):
        for kind in ("SSLAM", "SAMAudio"):
            error = functools.partial(error_of_compiling, device, functools.partial(small_classifier, kind), backend)
            yield Check(f"gradients of {kind}, compiled", precision, error, ALLOWED_OF_GRADIENTS[precision])
        error = functools.partial(error_of_compiling, device, functools.partial(pretraining_run, device, 2), backend)
        yield Check("gradients of stage 2, compiled", precision, error, ALLOWED_OF_GRADIENTS[precision])


def error_of_compiling(device: torch.device, make: Callable[[], tuple[Any, dict]], backend: str) -> float:
    """The norm of the difference of all gradients, as a share of their norm."""
    torch.compiler.reset()
    gradients = []
    for compiles in (False, True):
        model, batch = make()
        model.train().to(device)
        if compiles:
            model.compile(backend=backend)
        model(**{name: value.to(device) for name, value in batch.items()}).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    eager, own = gradients
    return ((own - eager).norm() / eager.norm()).item()


# Training ----------------------------------------------------------------------------------------------------------


def training(settings: Settings, cards: list[str]) -> Iterator[Check]:
    """A run that is stopped and resumed beside one that is not, and two processes beside one."""
    yield Check("losses of a resumed run", "float32", functools.partial(error_of_resuming, settings.device), 1e-5)
    error = functools.partial(error_of_two_processes, settings.device, cards)
    yield Check("gradients of two processes", "float32", error, ALLOWED_OF_GRADIENTS["float32"])


def error_of_resuming(device: torch.device) -> float:
    """The largest relative difference of the losses of the steps that are done again."""
    from data_loading import rows_of_noise

    from polyaudio import PretrainingArguments, WindowArguments, pretrain

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    decoder = {"decoder_hidden_size": 32, "decoder_num_layers": 1, "decoder_groups": 4, "clone_batch": 2}
    steps = {"max_steps": 4, "save_steps": 2, "save_total_limit": 2, "logging_steps": 1}
    losses = []
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        clips = rows_of_noise(Path(folder), 8, 2).remove_columns("label")
        for resume in (False, True):
            args = PretrainingArguments(
                f"{folder}/run",
                use_cpu=device.type == "cpu",
                per_device_train_batch_size=2,
                dataloader_num_workers=0,
                disable_tqdm=True,
                **steps,
            )
            result = pretrain(
                clips, SSLAMConfig(**sizes, **decoder), args, windows=WindowArguments(crop_seconds=1.0), resume=resume
            )
            losses.append({entry["step"]: entry["loss"] for entry in result.history if "loss" in entry})
            shutil.rmtree(result.folder / "checkpoint-4", ignore_errors=True)
    whole, resumed = losses
    if whole.keys() != resumed.keys():
        raise ValueError(f"The resumed run has the losses of the steps {sorted(resumed)}, not {sorted(whole)}.")
    return max(abs(resumed[step] / whole[step] - 1) for step in (3, 4))
