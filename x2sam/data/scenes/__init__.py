"""A generated world: seeded images and clips with exact masks, stable identities and language for every task."""

from x2sam.data.scenes.samples import World

__all__ = ["World"]
