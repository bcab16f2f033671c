"""The mailbox: a mail server for development that delivers to nobody and shows every mail it was given.

`smtp.py` takes the mails in, `inbox.py` keeps the latest of them, `letter.py` reads one, `pages.py` shows them.
"""
