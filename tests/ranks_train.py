"""`brs` with a small network, for `torchrun`: what is tested is who does what."""

from cases import small_network

import plugin.fold_fit
import plugin.ranks
from plugin.cli import main

for module in (plugin.fold_fit, plugin.ranks):
    module.new_network = lambda *, seed, **_: small_network(seed)  # type: ignore[attr-defined]

if __name__ == "__main__":
    main()
