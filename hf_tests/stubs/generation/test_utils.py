"""The sdist does not hold the generation tests. `ModelTesterMixin` checks that only models that generate have them."""


class GenerationTesterMixin:
    pass
