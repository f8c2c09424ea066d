"""What the commands of `x2sam.cli` do: their inputs, their help, and the runs themselves."""
