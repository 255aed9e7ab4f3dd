"""What changed between the lineages of two checkpoints, from configurations down to rows."""
