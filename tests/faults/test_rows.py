"""The short form of the table: every row on one column, another for each row in turn, so that each has its share."""

from __future__ import annotations

import pytest

from tests.faults.columns import COLUMNS, OURS, Column
from tests.faults.rows import TABLE, WANTED, Row


def cases() -> list[object]:
    rows = enumerate(TABLE)
    return [pytest.param(row, OURS[number % len(OURS)], id=f"{row.id}") for number, row in rows]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("row, column", cases())
def test_no_row_falls_short(row: Row, column: Column) -> None:
    shorts = row.judge(column)

    assert [str(short) for short in shorts] == [], f"{row.title}, {column}"


def test_the_table_has_every_row() -> None:
    assert [row.id for row in TABLE] == WANTED
    assert len(TABLE) == 84


@pytest.mark.parametrize("name", ["C18", "S06", "S16"])
def test_the_judge_sees_where_another_client_falls_short(name: str) -> None:
    row = next(row for row in TABLE if row.id == name)

    shorts = row.judge(COLUMNS["openai SDK"])

    assert any(not short.common for short in shorts)
