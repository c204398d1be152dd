"""De-Pois' own tables and figures beside ours: `python -m benchmarks.de_pois`.

`parts.py` says what is measured, `lots.py` plants the poison, `variants.py` and `peers.py` judge it, `conventions.py`
counts in the paper's way and in ours, `results.py` keeps the rows, `page.py` writes docs/de-pois-tables.md from them.
The paper's figures are in published/, typed from its tables.
"""
