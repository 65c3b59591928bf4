"""What evaluation raises besides `EvalError`."""

from headwater.core.errors import EvalError


class UnusableCheckpoint(EvalError):
    """This one checkpoint cannot be evaluated; another one of the run may well be."""
