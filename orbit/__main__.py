"""`python -m orbit PROGRAM ...`, and `torchrun ... -m orbit PROGRAM ...`."""

from orbit.program import main

if __name__ == "__main__":
    main()
