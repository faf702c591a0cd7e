"""What runs inside a job: ranks, attempts and their ends, records of what was submitted."""
