"""Where jobs run: settings of clusters, SLURM's answers, submission of jobs, their records."""
