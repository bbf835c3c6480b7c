"""Published zero-shot evaluation suites, run on local copies of their data sets."""
