"""Mail, SMS and push providers behind one interface (`message.py`); `providers.py` chooses among those configured."""
