"""Where frames go by: an opened medium, its tracks, the running state of every prompt, and which object is which.

From the user down: `session` (the opened medium), `track` (the walk over frames, and `changes` to it), `saving` (its
file), `frame_step` (all prompts on one frame), `prompt_state` (one prompt), `association` (which candidate is which
object), `objects` (ids), `history` (what was found lately, and where it is now), `engine` (model and processor).
"""
