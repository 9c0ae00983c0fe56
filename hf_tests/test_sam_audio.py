"""The suite of transformers on SAMAudio."""

import copy
import unittest

import pytest
import torch
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin, floats_tensor
from tests.test_sequence_feature_extraction_common import SequenceFeatureExtractionTestMixin
from torch import nn
from transformers import Data2VecAudioConfig

from polyaudio import (
    SAMAudioConfig,
    SAMAudioFeatureExtractor,
    SAMAudioForAudioClassification,
    SAMAudioForPreTraining,
    SAMAudioModel,
    SSLAMConfig,
)


# The sizes of an encoder in place of the convolutions
ENCODER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


class SAMAudioModelTester:
    batch_size = 3
    is_training = True
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    seq_length = 6  # the segments
    key_length = 8  # the encoder's frames, to which they attend
    num_frames = 16

    def __init__(self, **config):
        self.config = config

    def get_config(self):
        return SAMAudioConfig(
            conv_dim=[16, 32],
            conv_kernel=[3, 3],
            conv_stride=[2, 1],  # the suite pads by two frames: one of the encoder's
            num_segments=self.seq_length,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            projection_dim=8,
            num_labels=3,
            **self.config,
        )

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        shape = [self.batch_size, self.num_frames]
        size = config.feature_size or getattr(config.encoder_config, "num_mel_bins", 1)
        return config, {
            "input_values": floats_tensor(shape if size == 1 else [*shape, size]),
            "attention_mask": torch.ones(shape, dtype=torch.long),
        }


class SAMAudioModelTest(ModelTesterMixin, unittest.TestCase):
    all_model_classes = (SAMAudioModel, SAMAudioForPreTraining, SAMAudioForAudioClassification)
    test_resize_embeddings = False  # there are no token embeddings

    def setUp(self):
        self.model_tester = SAMAudioModelTester(frontend="log_mel", feature_size=12)

    def test_model_get_set_embeddings(self):
        """As in the suite, but the input embeddings are a convolution instead of an `nn.Embedding`."""
        for model_class in self.all_model_classes:
            model = model_class(copy.deepcopy(self.model_tester.get_config()))
            assert isinstance(model.get_input_embeddings(), nn.Conv1d | nn.Conv2d)
            other = nn.Conv1d(2, 2, 1)
            model.set_input_embeddings(other)
            assert model.get_input_embeddings() is other
            assert model.get_output_embeddings() is None


class SAMAudioWaveformModelTest(SAMAudioModelTest):
    """With a waveform as input and a norm that has buffers."""

    def setUp(self):
        self.model_tester = SAMAudioModelTester(frontend="waveform", feat_extract_norm="batch")


class SAMAudioOverSSLAMModelTest(SAMAudioModelTest):
    """With an SSLAM encoder in place of the convolutions."""

    def setUp(self):
        encoder = SSLAMConfig(
            **ENCODER,
            patch_size=2,  # the suite pads by two frames: one of the encoder's
            num_mel_bins=4,
            max_time_patches=16,
        )
        self.model_tester = SAMAudioModelTester(encoder_config=encoder)


class SAMAudioOverData2VecModelTest(SAMAudioModelTest):
    """With an encoder of transformers in place of the convolutions."""

    def setUp(self):
        encoder = Data2VecAudioConfig(
            **ENCODER,
            conv_dim=[16, 16],
            conv_kernel=[2, 1],
            conv_stride=[2, 1],
            num_conv_pos_embeddings=2,
            num_conv_pos_embedding_groups=2,
            conv_pos_kernel_size=3,
            mask_time_prob=0.0,
            layerdrop=0.0,
        )
        self.model_tester = SAMAudioModelTester(encoder_config=encoder)

    def test_model_get_set_embeddings(self):
        """The encoder has none that transformers would name."""
        for model_class in self.all_model_classes:
            with pytest.raises(NotImplementedError):
                model_class(self.model_tester.get_config()).get_input_embeddings()

    @unittest.skip("The suite skips this test for models that transformers had before 2023, as it has this encoder")
    def test_can_init_all_missing_weights(self):
        pass


class SAMAudioConfigTest(unittest.TestCase):
    def test_config(self):
        ConfigTester(self, config_class=SAMAudioConfig, has_text_modality=False, hidden_size=64).run_common_tests()

    def test_config_with_an_encoder(self):
        encoder = SSLAMConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=4)
        tester = ConfigTester(self, config_class=SAMAudioConfig, has_text_modality=False, encoder_config=encoder)
        # All but the comparison of the JSON with the settings, which are not JSON here
        tester.create_and_test_config_from_and_save_pretrained()
        tester.create_and_test_config_from_and_save_pretrained_subfolder()
        tester.create_and_test_config_from_and_save_pretrained_composite()
        tester.create_and_test_config_with_num_labels()
        tester.check_config_can_be_init_without_params()
        tester.check_config_arguments_init()


class SAMAudioFeatureExtractionTester:
    batch_size = 7
    min_seq_length = 400
    max_seq_length = 2000
    seq_length_diff = (max_seq_length - min_seq_length) // (batch_size - 1)

    def __init__(self, frontend: str, feature_size: int):
        self.frontend = frontend
        self.feature_size = feature_size

    def prepare_feat_extract_dict(self):
        # The suite sums up a number of padding frames that is not that of its clips, so it passes with zeros only
        return {"frontend": self.frontend, "feature_size": self.feature_size, "padding_value": 0.0}

    def prepare_inputs_for_common(self, equal_length=False, numpify=False):
        shape = () if self.feature_size == 1 else (self.feature_size,)
        lengths = range(self.min_seq_length, self.max_seq_length, self.seq_length_diff)
        clips = [floats_tensor([self.max_seq_length if equal_length else length, *shape]) for length in lengths]
        return [clip.numpy() if numpify else clip.tolist() for clip in clips]


class SAMAudioLogMelExtractorTest(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = SAMAudioFeatureExtractor
    feat_extract_tester = SAMAudioFeatureExtractionTester("log_mel", feature_size=10)


class SAMAudioTonicChromaExtractorTest(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = SAMAudioFeatureExtractor
    feat_extract_tester = SAMAudioFeatureExtractionTester("tonic_chroma", feature_size=12)


class SAMAudioWaveformExtractorTest(SequenceFeatureExtractionTestMixin, unittest.TestCase):
    feature_extraction_class = SAMAudioFeatureExtractor
    feat_extract_tester = SAMAudioFeatureExtractionTester("waveform", feature_size=1)
