"""Training on torchtitan: one code path for CPU and GPU, exact resume, checkpoints that say where they come from."""

__version__ = "0.1.0"
PRODUCER = f"headwater-train {__version__}"
