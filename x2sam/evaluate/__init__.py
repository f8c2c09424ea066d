"""Measuring a model on splits: answers first, on disk, then every metric from them."""
