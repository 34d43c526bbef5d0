"""The tests: a folder for each room, and three more for broken servers, proxies and the tools of others."""

from pathlib import Path

import pytest

# So that a failed assert in a shared module shows its values, as one in a test does.
pytest.register_assert_rewrite(*(f"tests.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")))
