"""How many examples hypothesis draws for a test."""

from hypothesis import settings

_USUAL = 60


def examples(count: int) -> settings:
    """``count`` examples where tests draw 60 by default, and in proportion where they draw more."""
    return settings(max_examples=count * settings.default.max_examples // _USUAL)
