"""Mail, SMS and push providers behind one interface."""
