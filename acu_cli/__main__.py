"""`python -m acu_cli` is `acu`."""

from __future__ import annotations

from acu_cli.app import main

main()
