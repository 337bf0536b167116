"""The table on every other wire. The rows that hang on one run here; `make prove` runs all, on every HTTP client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.case import Row
from tests.faults.claude import CLAUDE
from tests.faults.columns import OwnColumn
from tests.faults.gemini import GEMINI
from tests.faults.responses import RESPONSES
from tests.faults.rows import TABLE
from tests.faults.wires import Wire

WIRES = [CLAUDE, GEMINI, RESPONSES]


def in_turn() -> list[Any]:
    return [
        pytest.param(wire, row, wire.columns[number % len(wire.columns)], id=f"{wire.name}-{row.id}")
        for wire in WIRES
        for number, row in enumerate(wire.short_rows)
    ]


def with_every_client() -> list[Any]:
    return [
        pytest.param(wire, row, column, id=f"{wire.name}-{row.id}-{column.name}")
        for wire in WIRES
        for row in wire.rows
        for column in wire.columns
    ]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("wire, row, column", in_turn())
def test_no_row_of_the_wire_falls_short(wire: Wire, row: Row, column: OwnColumn) -> None:
    with wire.spoken():
        assert [str(short) for short in row.judge(column)] == []


@pytest.mark.prove
@pytest.mark.timeout(60)
@pytest.mark.parametrize("wire, row, column", with_every_client())
def test_no_row_falls_short(wire: Wire, row: Row, column: OwnColumn) -> None:
    with wire.spoken():
        assert [str(short) for short in row.judge(column)] == []


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_what_is_not_judged_is_in_the_table(wire: Wire) -> None:
    assert wire.not_here.keys() <= {row.id for row in TABLE}
    assert len(wire.rows) >= 74
    assert len(wire.short_rows) >= 30
