"""`brs` that keeps a training's state after every epoch, to be killed and gone on."""

from functools import partial

import plugin.fold_fit
from model.train import Bench
from plugin.cli import main

plugin.fold_fit.Bench = partial(Bench, keep_every_s=0)  # type: ignore[assignment, attr-defined]

if __name__ == "__main__":
    main()
