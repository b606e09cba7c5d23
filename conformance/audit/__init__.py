"""`tiecheck audit`: a checkpoint is judged as a file: nothing is built, and nothing of it is executed."""
