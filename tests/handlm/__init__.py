"""A small hand-made framework: NumPy language models, a tape, optimizers over dicts of arrays, ways to copy and save."""

from . import optim, tape
from .model import Model, Taped, simple_ways
