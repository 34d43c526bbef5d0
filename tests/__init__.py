"""The tests: a folder for each room, and four more: broken servers, proxies, the tools of others, an operator."""

from pathlib import Path

import pytest

# So that a failed assert in a shared module shows its values, as one in a test does.
pytest.register_assert_rewrite(*(f"tests.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")))
