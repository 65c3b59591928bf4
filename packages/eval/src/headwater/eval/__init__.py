"""Headwater eval: from a checkpoint to scores with their uncertainty."""

PRODUCER = "headwater-eval 0.1.0"
"""Package and version, as written into every manifest that this package makes."""
