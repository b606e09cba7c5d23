import numpy as np


class SGD:
    def __init__(self, rate, decay, momentum=0.9):
        self.rate, self.decay, self.momentum, self.m = rate, decay, momentum, {}

    def update(self, name, w, g):
        g = g + self.decay * w
        self.m[name] = g if name not in self.m else self.momentum * self.m[name] + g
        return (w - self.rate * self.m[name]).astype(w.dtype)


class AdamW:
    def __init__(self, rate, decay):
        self.rate, self.decay, self.s = rate, decay, {}

    def update(self, name, w, g):
        m, v, t = self.s.get(name, (0.0, 0.0, 0))
        t += 1
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        self.s[name] = m, v, t
        w = w * (1 - self.rate * self.decay)
        return (w - self.rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)).astype(g.dtype)


def make(kind, rate, decay):
    return {"sgd": SGD, "adamw": AdamW}[kind](rate, decay)
