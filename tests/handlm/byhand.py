"""A body with gradients derived by hand: h = x + tanh(mean of the past @ a) @ b."""

import numpy as np


def flat(x):
    return x.reshape(-1, x.shape[-1])


def body(x, a, b):
    n = np.arange(1, x.shape[1] + 1, dtype=x.dtype)[:, None]
    c = np.cumsum(x, 1) / n
    u = np.tanh(c @ a)
    return x + u @ b, (n, c, u)


def body_back(dh, kept, a, b):
    n, c, u = kept
    dz = (dh @ b.T) * (1 - u * u)
    dc = (dz @ a.T) / n
    dx = dh + np.cumsum(dc[:, ::-1], 1)[:, ::-1]
    return dx, flat(c).T @ flat(dz), flat(u).T @ flat(dh)


def scatter(ids, dx, rows):
    g = np.zeros((rows, dx.shape[-1]), dx.dtype)
    np.add.at(g, ids.reshape(-1), flat(dx))
    return g
