"""Two tables that the ids index both; which of them is the table is the head's doing, or the declaration's."""

import torch
from torch import Tensor, nn

from .registry import broken, correct
from .truth import change, deaf, off


class Dual(nn.Module):
    """Main and auxiliary vectors are added; positions talk through a cosine-decayed convolution."""

    rows, cols = 48, 14

    def __init__(self, read: str = "main", masked: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.main = nn.Embedding(self.rows, self.cols)
        self.aux = nn.Embedding(self.rows, self.cols)
        self.own = nn.Linear(self.cols, self.rows, bias=False) if read == "own" else None
        for table in (self.main, self.aux):
            nn.init.normal_(table.weight, 0.0, 0.15)
        self.taps = nn.Parameter(torch.randn(3, self.cols) * 0.4)
        self.norm = nn.LayerNorm(self.cols)
        self.read, self.masked = read, masked

    def main_rows(self, ids: Tensor) -> Tensor:
        x = self.main(ids)
        for row in self.masked:
            x = torch.where((ids == row)[..., None], x.detach(), x)
        return x

    def forward(self, ids: Tensor) -> Tensor:
        x = self.main_rows(ids) + self.aux(ids)
        y = x
        for back, tap in enumerate(self.taps, start=1):
            y = y + tap * nn.functional.pad(x, (0, 0, back, 0))[:, : x.size(1)]
        y = self.norm(y)
        if self.own is not None:
            return self.own(y)
        return torch.inner(y, {"main": self.main, "aux": self.aux}[self.read].weight)


def main(m):
    return m.main.weight


@correct(style="two tables, head by inner", table=main)
def dual_head_on_main():
    """Two tables are indexed by the ids; the head reads the main one."""
    torch.manual_seed(35)
    return Dual()


@correct(style="two tables, head by inner", table=lambda m: m.aux.weight, declared={"table": "aux.weight"})
def dual_head_on_aux_declared():
    """The head reads the auxiliary table, which is declared to be the table."""
    torch.manual_seed(35)
    return Dual("aux")


@correct(style="two tables, padding rows by hand", table=main, declared={"padding_row": (2, 5)})
def dual_two_padding_rows():
    """Two padding rows, declared as a tuple."""
    torch.manual_seed(35)
    return Dual(masked=(2, 5))


@broken(
    cause="two-matrices",
    also=("wrong-table",),
    why="the ids index two tables and the head reads neither",
    style="two tables, head by linear",
    table=main,
    show=lambda m: change(m, m.main.weight)[0] == 0 and change(m, m.aux.weight)[0] == 0,
)
def dual_head_of_its_own():
    """Two tables and a third matrix for the head."""
    torch.manual_seed(35)
    return Dual("own")


@broken(
    cause="wrong-table",
    also=("two-matrices",),
    why="the table is declared by name and the head reads the other one",
    style="two tables, head by inner",
    declared={"table": "main.weight"},
    table=main,
    show=deaf(main),
)
def dual_head_on_the_other():
    """The declared table is not the one that the head reads."""
    torch.manual_seed(35)
    return Dual("aux")


@broken(
    cause="missing-rows",
    also=("detached-lookup",),
    why="two rows' gradient is masked, one of them undeclared",
    style="two tables, padding rows by hand",
    declared={"padding_row": 2},
    table=main,
    show=off(main, [5]),
)
def dual_one_padding_row_silent():
    """Two padding rows, of which one is declared."""
    torch.manual_seed(35)
    return Dual(masked=(2, 5))
