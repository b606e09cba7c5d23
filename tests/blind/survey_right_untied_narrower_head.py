"""RIGHT. Untied, with a head that is narrower than the table: the network changes the width on its way."""

from blind.survey_right_untied_wider_head import DECLARE, TRUTH, Model

__all__ = ["DECLARE", "TRUTH"]


def make():
    return Model(8)
