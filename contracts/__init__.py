"""What services share.

To change a message: change its fields, add an upcaster, and run `python -m tests.contract.recorded`.
"""
