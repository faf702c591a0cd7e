"""Where jobs run: cluster settings, what SLURM says, handing jobs over."""
