"""The same in a table that is wider than it is long: h is read back from rows that were written."""

from handlm.models.wrong_cap_of_another_size import M


def build():
    return M(rows=20, width=20)


TRUTH = {"declare": {"tied": True, "logit_softcap": 9.0}, "conforms": False, "causes": ["undeclared-softcap"]}
