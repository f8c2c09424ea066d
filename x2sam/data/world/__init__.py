"""The world: a seeded generator of pictures and clips with exact masks, identities and language for every task.

Read in this order: `vocabulary` (the words, and what is held back), `shapes` and the tables of outlines, `photos`,
`appearance`, `backgrounds`, `motion`, `things`, `casting`, `scene` (pixels), `facts`, `language`, `questions`,
`captions` (words), `drafts` and `samples` (samples), `preview` (pictures for people).
"""

from x2sam.data.world.samples import World

__all__ = ["World"]
