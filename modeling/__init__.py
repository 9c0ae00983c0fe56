# The Auto classes come first: their import registers the modules of this package, which import them in turn.
import transformers.models.auto.modeling_auto  # noqa: F401
