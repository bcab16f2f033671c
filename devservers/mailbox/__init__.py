"""A mail server for development that delivers nothing and shows every mail.

`smtp.py` receives mails, `inbox.py` stores the latest, `letter.py` parses one, `pages.py` shows them.
"""
