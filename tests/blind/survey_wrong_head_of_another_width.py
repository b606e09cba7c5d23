"""WRONG. Declared tied, and the head is another matrix, of another width than the table."""

from blind.survey_right_untied_wider_head import Model

TRUTH = {"conforms": False, "cause": "two-matrices", "also": []}


def make():
    return Model()
