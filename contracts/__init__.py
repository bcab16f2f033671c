"""What services share: messages by publisher, money, payment tokens, reasons. Services import this, never each other.

To change a message: change its fields, add an upcaster from the previous version, and record the new version with
`python -m tests.contract.recorded`.
"""
