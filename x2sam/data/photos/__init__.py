"""A folder of photos and clips with masks, names and captions: read for evaluation, drawn from for training."""

from x2sam.data.photos.folder import Photo, PhotoFolder, Shape, is_validation
from x2sam.data.photos.source import PhotoSource

__all__ = ["Photo", "PhotoFolder", "PhotoSource", "Shape", "is_validation"]
