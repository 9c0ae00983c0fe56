# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""polyaudio: SAMAudio and SSLAM as first-class Hugging Face audio models.

`import polyaudio` makes the model types known to the Auto classes of transformers. Both the public names and that
registration are lazy: neither torch nor torchaudio is imported before somebody asks for a class that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

from .integration.moved import find_moved_modules
from .integration.registration import register_auto_classes
from .integration.version import __version__ as __version__


_MODULE_OF = {
    "Annotation": ".inference.annotation",
    "Annotator": ".inference.annotation",
    "AudioTrainingArguments": ".training.arguments",
    "AugmentationArguments": ".augmentation.arguments",
    "CalibrationResult": ".training.calibration",
    "Comparison": ".training.comparison",
    "DataArguments": ".training.arguments",
    "DatasetRecordings": ".data.recordings",
    "Duplicate": ".inference.duplicates",
    "EATConfig": ".configuration.configuration_sslam",
    "EmbeddingReport": ".inference.collection",
    "EventRules": ".data.event_rules",
    "ExportReport": ".export.exporting",
    "Hit": ".inference.search",
    "IndexReport": ".inference.search_index",
    "LoraArguments": ".training.arguments",
    "PredictionReport": ".inference.prediction_files",
    "PretrainingArguments": ".training.arguments",
    "SAMAudioConfig": ".configuration.configuration_sam_audio",
    "SAMAudioFeatureExtractor": ".feature_extraction.feature_extraction_sam_audio",
    "SAMAudioForAudioClassification": ".modeling.modeling_sam_audio",
    "SAMAudioForPreTraining": ".modeling.modeling_sam_audio",
    "SAMAudioModel": ".modeling.modeling_sam_audio",
    "SAMAudioPreTrainedModel": ".modeling.modeling_sam_audio",
    "SSLAMConfig": ".configuration.configuration_sslam",
    "SSLAMFeatureExtractor": ".feature_extraction.feature_extraction_sslam",
    "SSLAMForAudioClassification": ".modeling.modeling_sslam",
    "SSLAMForAudioFrameClassification": ".modeling.modeling_sslam",
    "SSLAMForPreTraining": ".modeling.modeling_sslam",
    "SSLAMModel": ".modeling.modeling_sslam",
    "SSLAMPreTrainedModel": ".modeling.modeling_sslam",
    "SearchResult": ".inference.search",
    "SegmentAttention": ".inference.attention",
    "Tonic": ".inference.tonic",
    "WebReport": ".export.web",
    "WindowArguments": ".training.arguments",
    "annotate": ".inference.annotation",
    "build_app": ".app.page",
    "build_index": ".inference.search_index",
    "calibrate": ".training.calibration",
    "compare": ".training.comparison",
    "cross_validate": ".training.fine_tuning",
    "embed": ".inference.embedding",
    "embed_collection": ".inference.collection",
    "estimate_tonic": ".inference.tonic",
    "evaluate": ".evaluation.evaluate",
    "export_model": ".export.exporting",
    "export_web": ".export.web",
    "find_duplicates": ".inference.duplicates",
    "find_recordings": ".data.recordings",
    "fine_tune": ".training.fine_tuning",
    "load_audio": ".data.audio",
    "plot_segment_attention": ".inference.attention_plots",
    "predict": ".inference.prediction",
    "predict_collection": ".inference.prediction_files",
    "pretrain": ".training.pretraining",
    "probe": ".evaluation.probing",
    "read_recipe": ".training.recipes",
    "save_segment_attention": ".inference.attention",
    "search": ".inference.search",
    "segment_attention": ".inference.attention",
    "stream_audio": ".data.audio",
    "tune_events": ".evaluation.tuning",
}

__all__ = sorted([*_MODULE_OF, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'polyaudio' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if TYPE_CHECKING:
    from .app.page import build_app as build_app
    from .augmentation.arguments import AugmentationArguments as AugmentationArguments
    from .configuration.configuration_sam_audio import SAMAudioConfig as SAMAudioConfig
    from .configuration.configuration_sslam import EATConfig as EATConfig
    from .configuration.configuration_sslam import SSLAMConfig as SSLAMConfig
    from .data.audio import load_audio as load_audio
    from .data.audio import stream_audio as stream_audio
    from .data.event_rules import EventRules as EventRules
    from .data.recordings import DatasetRecordings as DatasetRecordings
    from .data.recordings import find_recordings as find_recordings
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.probing import probe as probe
    from .evaluation.tuning import tune_events as tune_events
    from .export.exporting import ExportReport as ExportReport
    from .export.exporting import export_model as export_model
    from .export.web import WebReport as WebReport
    from .export.web import export_web as export_web
    from .feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor as SAMAudioFeatureExtractor
    from .feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor as SSLAMFeatureExtractor
    from .inference.annotation import Annotation as Annotation
    from .inference.annotation import Annotator as Annotator
    from .inference.annotation import annotate as annotate
    from .inference.attention import SegmentAttention as SegmentAttention
    from .inference.attention import save_segment_attention as save_segment_attention
    from .inference.attention import segment_attention as segment_attention
    from .inference.attention_plots import plot_segment_attention as plot_segment_attention
    from .inference.collection import EmbeddingReport as EmbeddingReport
    from .inference.collection import embed_collection as embed_collection
    from .inference.duplicates import Duplicate as Duplicate
    from .inference.duplicates import find_duplicates as find_duplicates
    from .inference.embedding import embed as embed
    from .inference.prediction import predict as predict
    from .inference.prediction_files import PredictionReport as PredictionReport
    from .inference.prediction_files import predict_collection as predict_collection
    from .inference.search import Hit as Hit
    from .inference.search import SearchResult as SearchResult
    from .inference.search import search as search
    from .inference.search_index import IndexReport as IndexReport
    from .inference.search_index import build_index as build_index
    from .inference.tonic import Tonic as Tonic
    from .inference.tonic import estimate_tonic as estimate_tonic
    from .modeling.modeling_sam_audio import SAMAudioForAudioClassification as SAMAudioForAudioClassification
    from .modeling.modeling_sam_audio import SAMAudioForPreTraining as SAMAudioForPreTraining
    from .modeling.modeling_sam_audio import SAMAudioModel as SAMAudioModel
    from .modeling.modeling_sam_audio import SAMAudioPreTrainedModel as SAMAudioPreTrainedModel
    from .modeling.modeling_sslam import SSLAMForAudioClassification as SSLAMForAudioClassification
    from .modeling.modeling_sslam import SSLAMForAudioFrameClassification as SSLAMForAudioFrameClassification
    from .modeling.modeling_sslam import SSLAMForPreTraining as SSLAMForPreTraining
    from .modeling.modeling_sslam import SSLAMModel as SSLAMModel
    from .modeling.modeling_sslam import SSLAMPreTrainedModel as SSLAMPreTrainedModel
    from .training.arguments import AudioTrainingArguments as AudioTrainingArguments
    from .training.arguments import DataArguments as DataArguments
    from .training.arguments import LoraArguments as LoraArguments
    from .training.arguments import PretrainingArguments as PretrainingArguments
    from .training.arguments import WindowArguments as WindowArguments
    from .training.calibration import CalibrationResult as CalibrationResult
    from .training.calibration import calibrate as calibrate
    from .training.comparison import Comparison as Comparison
    from .training.comparison import compare as compare
    from .training.fine_tuning import cross_validate as cross_validate
    from .training.fine_tuning import fine_tune as fine_tune
    from .training.pretraining import pretrain as pretrain
    from .training.recipes import read_recipe as read_recipe

# pytest, run in a checkout, also imports this file under the name of the folder; that copy must register nothing.
if __name__ == "polyaudio":
    register_auto_classes()
    find_moved_modules()
