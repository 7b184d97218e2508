"""`python -m genesis_etl`, the same as the command `genesis-etl`."""

from genesis_etl.cli import main

if __name__ == "__main__":
    main()
