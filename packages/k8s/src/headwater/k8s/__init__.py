"""Headwater on Kubernetes: a recipe's stages as manifests, and the cluster's answers."""

__version__ = "0.1.0"
