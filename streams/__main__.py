"""`python -m streams` is the command `streams`, for where its script is not on the PATH."""

from streams.cli import main

if __name__ == "__main__":
    main()
