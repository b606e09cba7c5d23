"""Log-probabilities are declared, and plain logits come out: that is all, for their gradient is right."""

from .wrong_gradient_scale_absent import M


def build():
    return M()


TRUTH = {"declare": {"tied": True, "log_probabilities": True}, "conforms": False, "causes": ["declared-but-absent"]}
