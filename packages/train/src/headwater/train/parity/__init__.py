"""`headwater train parity`: every layout against one process, on the same seed, samples and initial weights."""
