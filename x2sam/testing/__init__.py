"""Helpers for tests, ours and our users': a tiny random model, tiny media, and the golden runner."""
