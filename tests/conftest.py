"""Tests import the zoo and each other by the folder that this file lies in; two cores, so one thread a test."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

pytest_plugins = ["pytester"]  # pytest wants it said here, at the top
sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)
