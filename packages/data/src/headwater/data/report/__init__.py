"""The page about a run's documents: what came in, what stayed, what went and why."""
