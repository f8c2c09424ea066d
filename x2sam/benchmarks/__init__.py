"""Benchmarks that x2sam defines itself: how they are built, read and scored."""
