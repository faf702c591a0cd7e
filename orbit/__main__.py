"""`python -m orbit WORD ...`, and `torchrun ... -m orbit WORD ...`."""

from orbit.program import main

if __name__ == "__main__":
    main()
