"""Answers out: what a result holds, pictures of it, and the files that other tools read."""
