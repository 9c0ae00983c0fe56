"""The sdist does not hold what `PipelineTesterMixin` runs for a task; this is ours for audio classification."""

import numpy as np
from transformers import AudioClassificationPipeline


class AudioClassificationPipelineTests:
    def get_test_pipeline(self, model, tokenizer=None, feature_extractor=None, dtype="float32"):
        classifier = AudioClassificationPipeline(model=model, feature_extractor=feature_extractor, dtype=dtype)
        noise = np.random.default_rng(0).uniform(-1, 1, 14_000)
        return classifier, [np.zeros(34_000), noise.astype(np.float32)]

    def run_pipeline_test(self, classifier, examples):
        labels = set(classifier.model.config.id2label.values())
        at_other_rate = {"raw": examples[1], "sampling_rate": classifier.feature_extractor.sampling_rate // 2}
        for audio in [*examples, at_other_rate]:
            answer = classifier(audio)
            scores = [entry["score"] for entry in answer]
            assert {entry["label"] for entry in answer} == labels
            assert scores == sorted(scores, reverse=True)
            assert abs(sum(scores) - 1) < 1e-2
            assert classifier(audio, top_k=1) == answer[:1]
