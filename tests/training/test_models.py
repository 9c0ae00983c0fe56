# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""The model that a training run begins with."""

import logging

from builders import SSLAM
from polyaudio import SSLAMConfig, SSLAMFeatureExtractor, SSLAMForAudioFrameClassification, SSLAMModel
from polyaudio.data.labels import FRAMES
from polyaudio.training.models import ModelSource, build_classifier


RULES = {"threshold": [0.2, 0.9], "max_gap": 0.5}


def test_the_rules_of_events_stay_with_the_weights_that_they_were_chosen_for(tmp_path):
    model = SSLAMForAudioFrameClassification(SSLAMConfig(**SSLAM, num_labels=2, event_rules=RULES))
    model.save_pretrained(tmp_path)
    SSLAMFeatureExtractor().save_pretrained(tmp_path)
    for source in (ModelSource.of(tmp_path), ModelSource.of(model)):
        trained, _ = build_classifier(source, ["a", "b"], FRAMES, None)
        assert trained.config.event_rules is None
    chosen = ModelSource(checkpoint=str(tmp_path), settings={"event_rules": {"threshold": 0.4}})
    assert build_classifier(chosen, ["a", "b", "c"], FRAMES, None)[0].config.event_rules == {"threshold": 0.4}
    assert model.config.event_rules == RULES


def test_a_line_says_what_is_new_in_place_of_the_table_of_transformers(tmp_path, caplog):
    SSLAMModel(SSLAMConfig(**SSLAM)).save_pretrained(tmp_path)
    SSLAMFeatureExtractor().save_pretrained(tmp_path)
    loggers = [logging.getLogger(name) for name in ("transformers", "polyaudio")]
    with caplog.at_level(logging.INFO, "polyaudio"):
        for logger in loggers:
            logger.addHandler(caplog.handler)
        try:
            build_classifier(ModelSource.of(tmp_path), ["a", "b"], FRAMES, None)
        finally:
            for logger in loggers:
                logger.removeHandler(caplog.handler)
    messages = "\n".join(caplog.messages)
    assert f"New, because {tmp_path} does not have it: " in messages
    assert "LOAD REPORT" not in messages
