"""Stand-ins for outside parties, real servers on one machine: a bank and a mail server. No service imports them."""
