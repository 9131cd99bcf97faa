"""tag2mask: from image tags to pixel masks, weakly supervised semantic segmentation as a pipeline."""

__version__ = "0.1.0"
