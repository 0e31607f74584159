"""Tests of the tools around the platform: set-up and test services."""
