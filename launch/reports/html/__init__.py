"""A report of runs and sweeps as static pages that open without a network.

`gathering` and `logs` read the files of runs; `curves`, `headline`, `names` and `pictures`
turn them into rows and series; `pages_*` and `writing` make files of these. A report measures
nothing itself.
"""
