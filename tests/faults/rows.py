"""Every row of the table, in its order."""

from __future__ import annotations

from tests.faults import rows_bodies, rows_connections, rows_life, rows_refusals, rows_streams
from tests.faults.case import ROWS, Row

assert all((rows_bodies, rows_connections, rows_life, rows_refusals, rows_streams))

WANTED = [f"C{number:02}" for number in (*range(1, 57), 65, 66)] + [f"S{number:02}" for number in range(1, 27)]

TABLE: list[Row] = [ROWS[name] for name in WANTED]
