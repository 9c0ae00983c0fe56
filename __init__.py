# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""polyaudio: SAMAudio and SSLAM as first-class Hugging Face audio models.

`import polyaudio` makes the model types known to the Auto classes of transformers. Both the public names and that
registration are lazy: neither torch nor torchaudio is imported before somebody asks for a class that needs it.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .integration.registration import register_auto_classes


try:
    __version__ = version("polyaudio")
except PackageNotFoundError:  # a checkout that is on the path but not installed
    __version__ = "0+checkout"

_MODULE_OF = {
    "EATConfig": ".configuration.configuration_sslam",
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
    "load_audio": ".data.audio",
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
    from .configuration.configuration_sam_audio import SAMAudioConfig as SAMAudioConfig
    from .configuration.configuration_sslam import EATConfig as EATConfig
    from .configuration.configuration_sslam import SSLAMConfig as SSLAMConfig
    from .data.audio import load_audio as load_audio
    from .feature_extraction.feature_extraction_sam_audio import SAMAudioFeatureExtractor as SAMAudioFeatureExtractor
    from .feature_extraction.feature_extraction_sslam import SSLAMFeatureExtractor as SSLAMFeatureExtractor
    from .modeling.modeling_sam_audio import SAMAudioForAudioClassification as SAMAudioForAudioClassification
    from .modeling.modeling_sam_audio import SAMAudioForPreTraining as SAMAudioForPreTraining
    from .modeling.modeling_sam_audio import SAMAudioModel as SAMAudioModel
    from .modeling.modeling_sam_audio import SAMAudioPreTrainedModel as SAMAudioPreTrainedModel
    from .modeling.modeling_sslam import SSLAMForAudioClassification as SSLAMForAudioClassification
    from .modeling.modeling_sslam import SSLAMForAudioFrameClassification as SSLAMForAudioFrameClassification
    from .modeling.modeling_sslam import SSLAMForPreTraining as SSLAMForPreTraining
    from .modeling.modeling_sslam import SSLAMModel as SSLAMModel
    from .modeling.modeling_sslam import SSLAMPreTrainedModel as SSLAMPreTrainedModel

# pytest, run in a checkout, also imports this file under the name of the folder; that copy must register nothing.
if __name__ == "polyaudio":
    register_auto_classes()
