"""From what the model gives to answers.

`candidates`: one frame's logits, options and rules, and masks cut from them; `panoptic`: categories in three forms;
`objects`: one mask for each phrase or object, with what is known of it; `answer`: which of these a task asks for.
"""
