"""`check(profile="quick")` where nothing but torch and NumPy is installed. A script, since pytest is absent too."""

import importlib.util

import torch
from tiecheck.conformance import NotJudged, check
from torch import nn

ABSENT = ("click", "hypothesis", "pytest", "rich", "transformers")


class Model(nn.Module):
    """A recurrent language model, tied or not."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.tokens = nn.Embedding(50, 12)
        self.body = nn.GRU(12, 12, batch_first=True)
        self.out = nn.Linear(12, 50, bias=False)
        if tied:
            self.out.weight = self.tokens.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.body(self.tokens(ids))[0])


def main() -> None:
    present = [name for name in ABSENT if importlib.util.find_spec(name) is not None]
    assert not present, f"this environment is to hold torch and NumPy alone, but it holds {present}"

    right = check(Model(tied=True), profile="quick")
    assert right.conforms, right.diagnosis
    assert right.summary["pass"] > 15 and right.summary["error"] == 0, right.summary

    wrong = check(Model(tied=False), profile="quick")
    assert not wrong.conforms
    assert wrong.diagnosis[0].cause == "two-matrices", wrong.diagnosis
    assert wrong.to_dict()["complete"] is True

    untied = check(Model(tied=False), "untied", profile="quick")
    assert untied.conforms, untied.diagnosis

    try:
        check(nn.Linear(3, 3), profile="quick")
    except NotJudged as refusal:
        print(f"a module without a table is refused: {refusal}")
    else:
        raise AssertionError("a module without a table was judged")
    print(f"torch and NumPy alone: {right.headline}; {wrong.headline}")


if __name__ == "__main__":
    main()
