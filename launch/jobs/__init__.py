"""The code inside a job: ranks, attempts and their ends; and which jobs are alive."""
