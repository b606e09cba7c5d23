"""The exceptions that cross the protocol: what bad input and unanswerable questions raise."""


class NoBackward(RuntimeError):
    """A subject refuses a backward pass in one mode; what needs it is skipped there."""


class NotJudged(ValueError):
    """The target cannot be loaded, run or judged; one sentence says why. The command line exits with status 2."""


class TieLost(AssertionError):
    """The two ends of the model are not one trained table; the message says where they are and what mends it."""
