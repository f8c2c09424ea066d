"""Where frames go by: an opened medium, its track, the running state of every prompt, and which object is which."""
