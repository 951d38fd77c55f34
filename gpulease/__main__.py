"""`python -m gpulease` is `gpulease`."""

from gpulease.cli.main import main

main()
