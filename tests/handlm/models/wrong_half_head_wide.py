"""The same with more columns than tokens."""

from .wrong_half_head import Engine


class Wide(Engine):
    width = 50


def build():
    return Wide()


TRUTH = {"declare": {"tied": True}, "conforms": False, "causes": ["reduced-precision"]}
