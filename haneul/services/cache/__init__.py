"""Answers that are given again to requests that are the same."""
