from __future__ import annotations

from modelwrap.errors import CallError, chain


def test_a_chain_of_errors_that_leads_back_to_itself_ends() -> None:
    first, second = CallError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first

    assert list(chain(first)) == [first, second]
