"""A report of runs and sweeps as static pages that open without a network.

`finding` and `gathering` read what runs left behind; `log`, `downsampling`, `clock`, `curves`,
`headline`, `effects`, `speed`, `facts`, `paper` and `pictures` turn it into rows and series;
`pages` and `writing` make files of them. Nothing is measured here that a run did not write.
"""
