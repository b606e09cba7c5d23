"""The one exception that bad input and unanswerable questions raise."""


class NotJudged(ValueError):
    """The target cannot be loaded, run or judged; one sentence says why. The command line exits with status 2."""
