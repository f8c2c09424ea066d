"""Bulk annotation: any number of media in, shards of masks out, on one machine or on a Ray cluster."""
