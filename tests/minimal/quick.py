"""`check(profile="quick")`, `assert_tied`, `watch` and `stages` where nothing but torch and NumPy is installed.

A script, since pytest is absent too.
"""

import importlib.util
import tempfile

import torch
from tiecheck.conformance import NotJudged, TieLost, assert_tied, check, stages, watch
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


def untie(model: Model) -> None:
    model.out.weight = nn.Parameter(model.out.weight.detach().clone())


def watched() -> None:
    """Along a pipeline, and in a training."""
    at, model = stages(), Model(tied=True)
    at("built", model)
    optimizer = torch.optim.AdamW(model.parameters())
    at("optimizer", model, optimizer)
    with tempfile.TemporaryDirectory() as folder:
        try:
            with watch(model, optimizer, every=2, shares=f"{folder}/shares.csv"):
                for step in range(1, 6):
                    if step == 4:
                        untie(model)
                    model(torch.tensor([[3, 1, 2]])).square().mean().backward()
                    optimizer.step()
        except TieLost as loss:
            assert "at step 4 the tie was lost" in str(loss), loss
        else:
            raise AssertionError("a loss in step 4 was not noticed")
        with open(f"{folder}/shares.csv") as file:
            assert len(file.read().splitlines()) == 2
    try:
        at("trained", model)
    except TieLost as loss:
        assert "'trained' lost the tie, which 'optimizer' had" in str(loss), loss
    else:
        raise AssertionError("a stage that lost the tie was passed over")


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

    model = Model(tied=True)
    assert_tied(model, torch.optim.AdamW(model.parameters()))
    try:
        assert_tied(Model(tied=False))
    except TieLost as loss:
        print(f"what is not tied is named: {loss}")
    else:
        raise AssertionError("two tables were taken for one")
    watched()
    print(f"torch and NumPy alone: {right.headline}; {wrong.headline}")


if __name__ == "__main__":
    main()
