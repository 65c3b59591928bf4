"""Token files of other programs as sources of a run."""
