"""Data: annotation families, the generated world and how they are mixed."""
