"""Training: recipes, batches, the loop, exact resume."""
