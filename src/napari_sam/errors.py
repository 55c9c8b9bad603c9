"""The package's exceptions: each message says what was wrong, what was expected and got, and what to do.

``SamError`` deliberately does not subclass ``RuntimeError``: a ``RuntimeError`` that escapes a napari
generator worker emits neither ``errored`` nor ``finished``, so nobody would ever hear of it.
"""


class SamError(Exception):
    """Base of all errors that napari_sam raises on purpose."""


class PromptError(SamError):
    """A prompt is malformed, lies outside the image, or contains nothing to segment."""


class ImageError(SamError):
    """An image has a shape, data type or content that cannot be segmented."""


class CheckpointError(SamError):
    """A checkpoint is missing, damaged, unsafe, or of another architecture."""


class CacheError(SamError):
    """The embedding cache cannot be read or written."""


class MissingWeightsError(CheckpointError):
    """The weights of a model that has a name are not on this computer yet."""


class DownloadError(CheckpointError):
    """Weights cannot be fetched; the message says from where, and where to put them by hand."""


class ManifestError(SamError):
    """The manifest of a batch cannot be read, or is not that of this batch."""


class BatchError(SamError):
    """A batch cannot begin, or cannot go on; what is finished is kept."""
