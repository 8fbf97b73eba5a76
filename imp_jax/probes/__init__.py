"""What is looked at around tickets, each probe whole in its file.

It may import stages and what lies below.
"""
