"""Measurements that anybody can repeat: `python -m bench.first_run`, `python -m bench.overhead`."""
