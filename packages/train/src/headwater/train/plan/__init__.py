"""Plans of trainings: what fits, how fast, at what cost. Nothing here imports torch."""
