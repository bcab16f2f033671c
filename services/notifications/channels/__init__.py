"""How messages leave: by mail servers, SMS services and push services, each behind the same small seam.

`message.py` is the seam: what a provider is given and how it may end. `providers.py` knows who there is.
"""
