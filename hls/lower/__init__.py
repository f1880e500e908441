"""From the integer graph to hardware layers; importing this package fills the table of its rules.

`lower` maps a graph, node by node, with the rules of `rules`; `build` is what a rule works with,
`wires` how a tensor travels. The rules: `macs` has matrix products and convolutions, `windows`
windows, pools and padding, `thresholds` thresholds and decisions, `elementwise` sums, products and
concatenation, `views` what only re-arranges elements. `tails` chooses how thresholds are built.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
