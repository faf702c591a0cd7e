"""The code inside a job: ranks, attempts and their ends, records of submitted jobs."""
