"""Settings of hypothesis for all tests: the same examples in every run, no time limits."""

from hypothesis import settings

settings.register_profile("sira", derandomize=True, deadline=None, max_examples=60)
settings.load_profile("sira")
