"""The sdist does not hold the export tests (`torch.export`, ONNX, ...), from which `ModelTesterMixin` inherits."""


class ExportTesterMixin:
    pass
