"""The key of whoever scrapes metrics: made once, kept for this user alone, renewed before it ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from modelyard.control.actions import keys, scraping
from modelyard.control.actions.home import Home
from modelyard.guard.keys import parse


def end_in(home: Home, days: float) -> None:
    """The key ends in so many days."""
    from datetime import UTC, datetime

    from modelyard.guard.tables import KEYS

    with home.database.write() as connection:
        connection.execute(KEYS.update().values(expires_at=datetime.now(UTC) + timedelta(days=days)))


def test_it_is_made_once_and_may_read_metrics_alone(home: Home) -> None:
    assert scraping.kept_key(home) is None
    text = scraping.metrics_key(home)
    assert scraping.metrics_key(home) == text
    assert scraping.kept_key(home) == text
    key = keys.read(home).find(scraping.NAME)
    assert parse(text.decode()).id == key.id
    assert {str(scope) for scope in key.grant.scopes} == {"server:metrics"}
    assert (home.settings.secrets / scraping.FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("days", [29, -1])
def test_it_is_renewed_before_it_ends_and_the_older_secret_goes_on(home: Home, days: int) -> None:
    before = scraping.metrics_key(home)
    end_in(home, days)
    assert scraping.kept_key(home) is None
    after = scraping.metrics_key(home)
    assert parse(after.decode()).id == parse(before.decode()).id
    assert after != before
    assert scraping.metrics_key(home) == after
    assert len(keys.read(home).find(scraping.NAME).secrets) == (2 if days > 0 else 1)


def test_a_file_that_was_lost_and_a_key_that_was_revoked_are_made_again(home: Home) -> None:
    texts = [scraping.metrics_key(home)]
    for _ in range(2):
        (home.settings.secrets / scraping.FILE).unlink()
        texts.append(scraping.metrics_key(home))
    keys.revoke(home, scraping.NAME)
    assert scraping.kept_key(home) is None
    texts.append(scraping.metrics_key(home))
    assert len({parse(text.decode()).secret for text in texts}) == 4
    assert len({parse(text.decode()).id for text in texts}) == 2
