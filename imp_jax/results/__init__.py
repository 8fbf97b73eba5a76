"""What a workdir tells: tables, verdicts, figures and reports of its index.

It may import probes and what lies below, and runs nothing.
"""
