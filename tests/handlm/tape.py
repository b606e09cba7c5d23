import numpy as np


class Var:
    __array_priority__ = 1000

    def __init__(self, v, back=()):
        self.v, self.back, self.g = v, back, None

    shape = property(lambda s: s.v.shape)

    def __add__(a, b):
        return add(a, b)

    __radd__ = __add__

    def __mul__(a, b):
        return mul(a, b)

    __rmul__ = __mul__

    def __neg__(a):
        return mul(a, -1.0)

    def __sub__(a, b):
        return add(a, mul(b, -1.0))

    def __matmul__(a, b):
        return matmul(a, b)

    def __getitem__(a, k):
        return index(a, k)

    @property
    def T(a):
        return swap(a)


def _c(x, like):
    return x if isinstance(x, Var) else Var(np.asarray(x, dtype=like.v.dtype))


def _un(g, shape):
    while g.ndim > len(shape):
        g = g.sum(0)
    for i, n in enumerate(shape):
        if n == 1 and g.shape[i] != 1:
            g = g.sum(i, keepdims=True)
    return g


def add(a, b):
    a, b = (a, _c(b, a)) if isinstance(a, Var) else (_c(a, b), b)
    return Var(a.v + b.v, ((a, lambda g: _un(g, a.shape)), (b, lambda g: _un(g, b.shape))))


def mul(a, b):
    a, b = (a, _c(b, a)) if isinstance(a, Var) else (_c(a, b), b)
    return Var(a.v * b.v, ((a, lambda g: _un(g * b.v, a.shape)), (b, lambda g: _un(g * a.v, b.shape))))


def matmul(a, b):
    a, b = (a, _c(b, a)) if isinstance(a, Var) else (_c(a, b), b)
    return Var(
        a.v @ b.v,
        (
            (a, lambda g: _un(g @ np.swapaxes(b.v, -1, -2), a.shape)),
            (b, lambda g: _un(np.swapaxes(a.v, -1, -2) @ g, b.shape)),
        ),
    )


def swap(a):
    return Var(np.swapaxes(a.v, -1, -2), ((a, lambda g: np.swapaxes(g, -1, -2)),))


def take(e, ids):
    def back(g):
        out = np.zeros_like(e.v)
        np.add.at(out, ids, g)
        return out

    return Var(e.v[ids], ((e, back),))


def index(a, k):
    def back(g):
        out = np.zeros_like(a.v)
        out[k] += g
        return out

    return Var(a.v[k], ((a, back),))


def unary(a, y, d):
    return Var(y, ((a, lambda g: g * d),))


def tanh(a):
    y = np.tanh(a.v)
    return unary(a, y, 1 - y * y)


def exp(a):
    y = np.exp(a.v)
    return unary(a, y, y)


def power(a, k):
    return unary(a, a.v**k, k * a.v ** (k - 1))


def total(a, axis=-1):
    return Var(a.v.sum(axis, keepdims=True), ((a, lambda g: np.broadcast_to(g, a.shape).copy()),))


def stack(items, axis=1):
    return Var(
        np.stack([i.v for i in items], axis),
        tuple((it, (lambda g, j=j: np.take(g, j, axis))) for j, it in enumerate(items)),
    )


def concat(items, axis=-1):
    ends = np.cumsum([0] + [i.shape[axis] for i in items])
    return Var(
        np.concatenate([i.v for i in items], axis),
        tuple((it, (lambda g, j=j: np.take(g, np.arange(ends[j], ends[j + 1]), axis))) for j, it in enumerate(items)),
    )


def stop(a):
    return Var(a.v)


def softmax(a, axis=-1):
    e = exp(a - stop(Var(a.v.max(axis, keepdims=True))))
    return e * power(total(e, axis), -1.0)


def rms(a, w=None):
    y = a * power(total(a * a) * (1.0 / a.shape[-1]) + 1e-5, -0.5)
    return y if w is None else y * w


def backward(out, R):
    order, seen = [], set()

    def visit(n):
        todo = [(n, iter(n.back))]
        seen.add(id(n))
        while todo:
            node, it = todo[-1]
            for p, _ in it:
                if id(p) not in seen:
                    seen.add(id(p))
                    todo.append((p, iter(p.back)))
                    break
            else:
                order.append(node)
                todo.pop()

    visit(out)
    out.g = np.asarray(R, dtype=out.v.dtype)
    for n in reversed(order):
        if n.g is None:
            continue
        for p, f in n.back:
            d = f(n.g)
            p.g = d if p.g is None else p.g + d
