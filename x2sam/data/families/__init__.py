"""One file for every annotation format: `read(root, split, seed)` gives its records."""
