"""The pipeline tests of transformers on tiny classifiers."""

import os
import unittest
from pathlib import Path

from tests.test_pipeline_mixin import PipelineTesterMixin

from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SSLAMConfig,
    SSLAMFeatureExtractor,
    SSLAMForAudioClassification,
)


class AudioClassifierPipelineTest(PipelineTesterMixin):
    """Saves a tiny classifier where the suite looks for one."""

    def setUp(self):
        model_class = self.pipeline_model_mapping["audio-classification"]
        folder = Path(os.environ["TRANSFORMERS_TINY_MODEL_PATH"]) / self.config.model_type / model_class.__name__
        model_class(self.config).save_pretrained(folder)
        self.feature_extractor_class().save_pretrained(folder)

    def run_task_tests(self, task, dtype="float32"):
        if task not in self.pipeline_model_mapping:
            self.skipTest("a pipeline for another task")
        super().run_task_tests(task, dtype)


class SAMAudioPipelineTest(AudioClassifierPipelineTest, unittest.TestCase):
    pipeline_model_mapping = {"audio-classification": SAMAudioForAudioClassification}
    feature_extractor_class = SAMAudioFeatureExtractor
    config = SAMAudioConfig(conv_dim=[16, 32], conv_kernel=[3, 3], conv_stride=[2, 2], num_segments=4, num_labels=3)


class SSLAMPipelineTest(AudioClassifierPipelineTest, unittest.TestCase):
    pipeline_model_mapping = {"audio-classification": SSLAMForAudioClassification}
    feature_extractor_class = SSLAMFeatureExtractor
    config = SSLAMConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, num_labels=3
    )
