"""The page of models is imported by who asks for it, and no sooner. What is on it: test_pages."""

from __future__ import annotations

import subprocess
import sys


def test_a_worker_that_nobody_asks_for_it_has_no_html() -> None:
    code = "import sys, modelyard.serve.app; print(*({'html', 'email', 'secrets', 'argparse'} & sys.modules.keys()))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == []
