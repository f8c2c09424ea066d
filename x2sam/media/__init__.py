"""Pictures and films in: what a source is, its frames by number or one by one, and how they are to be shown.

`opening` tells what a source is, `pictures` and `video` (over `videofile`, `timeline`, `streams`, `cameras`) hand out
frames, `display` turns them the way they are meant to be seen.
"""

from x2sam.media.opening import Clip, open_media

__all__ = ["Clip", "open_media"]
