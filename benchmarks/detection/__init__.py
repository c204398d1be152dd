"""Attack × dataset × rate × trusted share × seed: Lotgate and its peers on the same lots.

cases.yaml   every case, in two splits: `tune` (may be looked at while improving) and `report` (may not)
cases.py     cases.yaml → Case            data.py     samples of each dataset, decoded once
lots.py      Case → a planted lot on disk, its ground truth in memory only
product.py   Lotgate's own steps on that lot          peers*.py    what others do with the same lot and probe
measures.py  scores against ground truth              downstream.py  what a model learns from what was kept
results.py   rows as files and CSV                    page.py      CSV → one HTML page
goals.py     what must be reached                     tried.yaml   what was tried towards it
against.py   where a peer is ahead; attacks on the gate itself
"""
