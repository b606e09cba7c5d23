"""The bias that is declared by its name is never added."""

from .wrong_skipped_bias import Engine


def build():
    return Engine()


TRUTH = {"declare": {"tied": True, "output_bias": "head.bias"}, "conforms": False, "causes": ["declared-but-absent"]}
