"""The order of the stages: build, quality, rounds, verdict. Only this package and the worker know it."""
