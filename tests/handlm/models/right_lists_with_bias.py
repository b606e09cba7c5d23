"""Pure Python lists and loops, one sequence at a time, a declared bias; gradients by hand."""

import copy, random
import numpy as np
from handlm import Model


class Loops(Model):
    def __init__(self):
        r = random.Random(4)
        self.E = [[r.gauss(0, 0.5) for _ in range(5)] for _ in range(19)]
        self.W = [[r.gauss(0, 0.5) for _ in range(5)] for _ in range(5)]
        self.b = [r.gauss(0, 0.2) for _ in range(19)]

    def leaves(self):
        return {k: np.array(getattr(self, k)) for k in ("E", "W", "b")}

    def write(self, name, values):
        setattr(self, name, np.asarray(values).tolist())

    def hidden(self, seq):
        before, hs = [0.0] * 5, []
        for i in seq:
            x = self.E[int(i)]
            hs.append([x[d] + sum(before[e] * self.W[e][d] for e in range(5)) for d in range(5)])
            before = x
        return hs

    def logits(self, ids):
        return np.array(
            [
                [[sum(h[d] * row[d] for d in range(5)) + c for row, c in zip(self.E, self.b)] for h in self.hidden(s)]
                for s in ids
            ]
        )

    def gradient(self, ids, R):
        gE = [[0.0] * 5 for _ in self.E]
        gW = [[0.0] * 5 for _ in range(5)]
        gb = [0.0] * 19
        for s, Rs in zip(ids, R):
            hs = self.hidden(s)
            for i, (tok, h, r) in enumerate(zip(s, hs, Rs)):
                dh = [0.0] * 5
                for v in range(19):
                    gb[v] += r[v]
                    for d in range(5):
                        gE[v][d] += r[v] * h[d]
                        dh[d] += r[v] * self.E[v][d]
                for d in range(5):
                    gE[int(tok)][d] += dh[d]
                    if i:
                        for e in range(5):
                            gE[int(s[i - 1])][e] += self.W[e][d] * dh[d]
                            gW[e][d] += self.E[int(s[i - 1])][e] * dh[d]
        return {"E": np.array(gE), "W": np.array(gW), "b": np.array(gb)}

    def ways(self):
        return (("deepcopy", "copy.deepcopy(model)", lambda m, fresh: copy.deepcopy(m), {}),)


def build():
    return Loops()


TRUTH = {"declare": {"tied": True, "output_bias": True}, "conforms": True}
