"""When, and in what order. Importing this package prepares Prefect's environment, before Prefect is imported."""

from flows import environment

environment.prepare()
